/**
 * Shows that the crash simulator and the tests beside it can fail: puts known mistakes into a copy of the tree, one at a
 * time, and expects them to find each. `npm run test:mutations`; a name limits it to that mistake.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const MUTATIONS: readonly Mutation[] = [
  {
    name: 'repair that overwrites the durable record',
    file: 'core/store/proof.ts',
    from: '  const durable = durableRecord(records, suspicion) ?? record;\n',
    to: '  const durable = durableRecord([], suspicion) ?? records[1] ?? record;\n',
  },
  {
    name: 'no flush of a batch',
    file: 'core/store/append.ts',
    from: '    await store.flush();\n',
    to: '',
  },
  {
    name: 'origin written first',
    file: 'core/snapshot/cow-writer.ts',
    from: '        const result = await this.#copy(hold, active, missing);\n',
    to: '        for (const { offsetBytes, data } of extents) await hold.origin.write(data, offsetBytes);\n        const result = await this.#copy(hold, active, missing);\n',
  },
  {
    name: 'a batch noted as flushed before it is',
    file: 'core/store/append.ts',
    from: '    await store.flush();\n    await noteFlushed(nextRecord);\n',
    to: '    await noteFlushed(nextRecord);\n    await store.flush();\n',
  },
  {
    name: 'a flushed batch not noted',
    file: 'core/store/append.ts',
    from: '    await noteFlushed(nextRecord);\n',
    to: '',
  },
  {
    name: 'slots counted from the record',
    file: 'core/store/store-file.ts',
    from: '    return Math.ceil(dataBytes / this.identity.clusterSizeBytes);\n',
    to: '    const record = await this.readRecords();\n    return dataBytes < 0 ? 0 : (record[0]?.ownSlotCount ?? 0);\n',
  },
  {
    name: 'entries of an unfinished batch kept',
    file: 'core/store/proof.ts',
    from: 'entry.batch !== suspicion.unfinishedBatch && ',
    to: '',
  },
  {
    name: 'taking over without a new batch number',
    file: 'core/snapshot/recover.ts',
    from: 'suspects, suspicions)) + 1;',
    to: 'suspects, suspicions)) * 0 + Math.max(1, before?.batch ?? 1);',
  },
  {
    name: 'opening without a flush',
    file: 'core/snapshot/hold.ts',
    from: "    await this.writeDurably({ ...this.state, phase: 'opening', bootId: this.bootId }, this.state);\n",
    to: '    this.#state = { ...this.state, bootId: this.bootId };\n',
  },
  {
    name: 'opened without waiting for the flush of who died in it',
    file: 'core/store/state.ts',
    from: "  return (flags & STATE_FLAG.confirmed) === 0 ? 'opening' : 'open';\n",
    to: "  return (flags & STATE_FLAG.confirmed) === 0 ? 'open' : 'open';\n",
  },
  {
    name: 'closing without its checks',
    file: 'core/snapshot/closing.ts',
    from: 'origin.syncAll()',
    to: 'origin.stat()',
  },
  {
    name: 'no fsync of the directory',
    file: 'core/io/atomic-replace.ts',
    from: '  await files.syncDirectory(dirname(path));\n',
    to: '  void dirname;\n',
  },
  {
    name: 'a failed fdatasync ignored',
    file: 'core/store/store-file.ts',
    from: '    await this.#file.syncData();\n',
    to: '    await this.#file.syncData().catch(() => undefined);\n',
  },
  {
    name: 'repair that trusts the bitmap',
    file: 'core/store/proof.ts',
    from: '  if (!flushed.equals(known)) {\n',
    to: '  await bitmap.refresh(store);\n  if (known.batch < 0) {\n',
  },
  {
    name: 'hand-over without repairing the receiver',
    file: 'core/snapshot/hand-over.ts',
    from: '    const flushRecord = await repairStore(store, assessment, batch);\n',
    to: '    void [repairStore, batch];\n    const flushRecord = assessment.durable;\n    await assessment.bitmap.refresh(store);\n',
  },
  {
    name: 'a catalog that is not durable before its effect',
    file: 'core/io/atomic-replace.ts',
    from: '    await file.syncAll();\n',
    to: '',
  },
  {
    name: 'no sync point at creation',
    file: 'core/snapshot/create.ts',
    from: '  await hold.origin.syncAll();\n',
    to: '',
  },
];

/** Crash states tried before a mistake counts as not found. */
const MOST_CRASHES = 40_000;
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function isFound(mutation: Mutation, seed: number): boolean {
  const tree = mkdtempSync(join(tmpdir(), 'imgsnap-mutation-'));
  try {
    for (const name of ['core', 'test', 'package.json'])
      cpSync(join(ROOT, name), join(tree, name), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
    const path = join(tree, mutation.file);
    const source = readFileSync(path, 'utf8');
    if (!source.includes(mutation.from))
      throw new Error(`${mutation.name}: ${mutation.file} has changed; mend the mutation`);
    writeFileSync(path, source.replaceAll(mutation.from, mutation.to));
    const tests = readdirSync(join(tree, 'test/sim')).filter((name) => name.endsWith('.test.ts'));
    const directed = ['--test', ...tests.map((name) => join('test/sim', name))];
    const atLength = ['test/sim/run-crashes.ts', String(MOST_CRASHES), String(seed)];
    for (const words of [directed, atLength]) {
      const run = spawnSync(process.execPath, ['--import', 'tsx', ...words], { cwd: tree, encoding: 'utf8' });
      if (run.status === 0) continue;
      const why = /(?:crash \d+ during|after|reads wrong|snapshot \S+ is).*/.exec(
        run.stderr + run.stdout,
      )?.[0];
      console.log(`found: ${mutation.name}: ${why?.slice(0, 160)}`);
      return true;
    }
    return false;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

const [wanted = '', seedText = String(Date.now() % 2 ** 31)] = process.argv.slice(2);
console.log(`mutations: seed ${seedText}`);
const missed = MUTATIONS.filter(({ name }) => name.includes(wanted)).filter(
  (mutation) => !isFound(mutation, Number(seedText)),
);
for (const { name } of missed) console.log(`NOT FOUND: ${name}`);
process.exitCode = missed.length === 0 ? 0 : 1;
