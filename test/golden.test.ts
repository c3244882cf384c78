/**
 * What an earlier version left must be read, trusted and carried on for ever. The golden sidecars are read with the
 * commands as they are installed, and compared with digests of plain copies that were made beside the snapshots.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { STATE, STATE_FLAG } from '../core/store/layout.ts';
import { decodeState } from '../core/store/state.ts';
import { type ProcessOptions, packagePath, runProcess } from './support/process.ts';
import { temporaryDirectory } from './support/temp.ts';

interface GoldenSnapshot {
  readonly name: string;
  readonly created: string;
  readonly state: string;
  readonly size: number;
  readonly clustersCopied: number;
  readonly xxh64: string;
  readonly sha256: string;
  /** Whether the catalog has its digest. */
  readonly recorded: boolean;
  readonly onFull: string;
  readonly maxSize?: number;
  readonly label?: string;
}

interface Golden {
  readonly image: { readonly size: number; readonly sha256: string; readonly mtimeNs: string };
  readonly snapshots: readonly GoldenSnapshot[];
}

const IMAGE = 'disk.img';
const CLOSED = 'golden-v1-chain';
const UNREPAIRED = 'golden-v1-unrepaired';

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** An unpacked golden image with its sidecar. */
class Place {
  readonly directory: string;
  readonly expected: Golden;

  constructor(directory: string, expected: Golden) {
    this.directory = directory;
    this.expected = expected;
  }

  static async unpack(t: TestContext, fixture: string): Promise<Place> {
    const directory = await temporaryDirectory(t);
    const archive = packagePath(`fixtures/${fixture}.tar.gz`);
    const { status, stderr } = await runProcess(['tar', '-xzf', archive, '-C', directory]);
    assert.equal(status, 0, stderr);
    const expected: Golden = JSON.parse(readFileSync(packagePath(`fixtures/${fixture}.json`), 'utf8'));
    const place = new Place(directory, expected);
    const { mtimeNs } = statSync(place.image, { bigint: true });
    assert.equal(String(mtimeNs), expected.image.mtimeNs, 'tar or the file system did not keep the time');
    return place;
  }

  get image(): string {
    return join(this.directory, IMAGE);
  }

  /** Runs a command that must succeed. */
  async run(command: string, args: readonly string[], options: ProcessOptions = {}): Promise<Buffer> {
    const words = [process.execPath, packagePath(`dist/${command}.cjs`), ...args];
    const result = await runProcess(words, { cwd: this.directory, ...options });
    assert.equal(result.status, 0, `${command} ${args.join(' ')}: ${result.stderr}`);
    return result.stdout;
  }

  /** Every file with its content. */
  content(): Map<string, string> {
    const names = readdirSync(this.directory, { recursive: true, encoding: 'utf8' }).sort();
    const files = names.filter((name) => statSync(join(this.directory, name)).isFile());
    return new Map(files.map((name) => [name, sha256(readFileSync(join(this.directory, name)))]));
  }

  /** Every snapshot but `except` reads as it was frozen. */
  async checkReads(...except: string[]): Promise<void> {
    for (const { name, sha256: digest, size } of this.expected.snapshots) {
      if (except.includes(name)) continue;
      const bytes = await this.run('snap-read', [`${IMAGE}@${name}`]);
      assert.deepEqual([bytes.length, sha256(bytes)], [size, digest], name);
    }
  }
}

/** What `snap-list --json` must say of a snapshot. */
function listed({ name, created, state, size, clustersCopied, ...rest }: GoldenSnapshot): object {
  const { onFull, maxSize, label, recorded, xxh64 } = rest;
  return {
    ...{ name, created, state, size, clustersCopied, onFull },
    ...(maxSize !== undefined && { maxSize }),
    ...(label !== undefined && { label }),
    ...(recorded && { digest: `xxh64:${xxh64}` }),
  };
}

for (const fixture of [CLOSED, UNREPAIRED]) {
  test(`${fixture} is listed, verified and read as it was frozen, and looking changes nothing`, async (t) => {
    const place = await Place.unpack(t, fixture);
    const { image, snapshots } = place.expected;
    const before = place.content();
    assert.equal(before.get(IMAGE), image.sha256);

    const [entry] = JSON.parse((await place.run('snap-list', ['--json', IMAGE])).toString());
    assert.deepEqual([entry.size, entry.clusterSize, entry.originModified], [image.size, 4096, undefined]);
    const picked = entry.snapshots.map((snapshot: Record<string, unknown>, index: number) => {
      const wanted = Object.keys(listed(snapshots[index] ?? assert.fail('one snapshot too many')));
      return Object.fromEntries(wanted.map((key) => [key, snapshot[key]]));
    });
    assert.deepEqual(picked, snapshots.map(listed));

    const digests = snapshots.map(({ name, xxh64 }) => `${xxh64}  ${IMAGE}@${name}\n`).join('');
    assert.equal((await place.run('snap-verify', ['--digest', IMAGE])).toString(), digests);
    await place.run('snap-verify', [IMAGE]);
    assert.deepEqual(place.content(), before);
    await place.checkReads();
  });

  test(`${fixture} is written through, grows a snapshot and loses one, and reads as before`, async (t) => {
    const place = await Place.unpack(t, fixture);
    const content = Buffer.alloc(place.expected.image.size, 'later');
    await place.run('snap-write', ['-q', IMAGE, '--offset', '5000'], { stdin: content.subarray(0, 9000) });
    await place.checkReads();
    await place.run('snap-create', [`${IMAGE}@latest`]);
    const latest = readFileSync(place.image);
    await place.run('snap-write', ['-q', IMAGE], { stdin: content });
    await place.checkReads();
    assert.deepEqual(readFileSync(place.image), content);
    const second = place.expected.snapshots[1]?.name ?? '';
    await place.run('snap-gc', ['-q', `${IMAGE}@${second}`]);
    await place.checkReads(second);
    assert.deepEqual(await place.run('snap-read', [`${IMAGE}@latest`]), latest);
    await place.run('snap-verify', [IMAGE]);
  });
}

test('the golden sidecars are what they are for: one closed, one with a mark set', async (t) => {
  const stateOf = async (fixture: string) => {
    const place = await Place.unpack(t, fixture);
    const bytes = readFileSync(join(place.directory, `${IMAGE}.snap/state`));
    const isOpen = (bytes.readUInt32LE(STATE.fields.flags.at) & STATE_FLAG.open) !== 0;
    return { isOpen, mark: decodeState(bytes, 'state')?.mark };
  };
  assert.deepEqual(await stateOf(CLOSED), { isOpen: false, mark: undefined });
  const { isOpen, mark } = await stateOf(UNREPAIRED);
  // Clusters 6 to 9 were written, and of those 6 had been copied before.
  assert.deepEqual([isOpen, mark?.firstCluster, mark?.lastCluster], [true, 7, 9]);
});
