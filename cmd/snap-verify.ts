/** snap-verify IMAGE | IMAGE@NAME ...: looks whether everything still is what was frozen, and changes nothing. */
import { hasCode, SnapError } from '../core/base/errors.ts';
import type { SnapshotDigest } from '../core/snapshot/compare.ts';
import type { Context } from '../core/snapshot/context.ts';
import type { Finding, Verification } from '../core/snapshot/verify.ts';
import { runCommand } from './shared/command.ts';
import { type OneImage, oneImage } from './shared/image.ts';
import { declareCommand, flag, many, text, value } from './shared/options.ts';
import type { Reporter } from './shared/report.ts';

const spec = declareCommand({
  name: 'snap-verify',
  usage: ['IMAGE', 'IMAGE@NAME...'],
  description:
    "Checks the sidecar's structure, every copied cluster against its XXH64, every recorded digest against what its " +
    'snapshot reads as, and whether the image was changed outside imgsnap. Changes no byte. --digest, --check and ' +
    '--origin each do something else instead.',
  arguments: {
    targets: many('IMAGE|IMAGE@NAME', 'an image, or snapshots of it; all of them where only it is named', 1),
  },
  options: {
    digest: flag("print each snapshot's XXH64, as xxhsum -H1 does"),
    check: value('FILE', text, 'compare with such lines, matched by NAME; - is standard input'),
    origin: flag('tell how much of the image has changed since each snapshot'),
  },
  examples: [
    { text: 'Is everything whole?', command: 'snap-verify disk.img' },
    {
      text: 'Is a restored file what was frozen?',
      command: 'snap-verify --digest disk.img@nightly; xxhsum -H1 restored.img',
    },
    { text: 'What has changed since?', command: 'snap-verify --origin disk.img@nightly' },
  ],
  exits: [3, 4, 5],
});

/** What each way of verifying is given. */
interface Work extends OneImage {
  readonly context: Context;
  readonly report: Reporter;
  readonly json: boolean;
  readonly quiet: boolean;
}

runCommand(spec, async (options, { context, report, stdin }) => {
  const ways = [options.digest, options.check !== undefined, options.origin].filter(Boolean).length;
  if (ways > 1) throw new SnapError('usage', '--digest, --check and --origin do not go together');
  const chosen = await oneImage(context.host.files, options.targets);
  const work: Work = { ...chosen, context, report, json: options.json, quiet: options.quiet };
  if (options.digest) return digest(work);
  if (options.check !== undefined) {
    const { readText } = await import('../core/stream/read-text.ts');
    const source = options.check === '-' ? stdin() : undefined;
    return check(work, await readText(context.host.files, options.check, source));
  }
  return options.origin ? compare(work) : verify(work);
});

async function verify(work: Work): Promise<number> {
  const { context, report, image } = work;
  const { verifySnapshots } = await import('../core/snapshot/verify.ts');
  const result = await verifySnapshots(context, image, work.names);
  const status = result.damaged ? 3 : result.untrusted ? 5 : 0;
  if (work.json) {
    report.json(verificationJson(result, status === 0));
    return status;
  }
  for (const finding of result.findings) report.print(`${where(image, finding)}: ${finding.message}\n`);
  const clusters = result.snapshots.reduce((sum, snapshot) => sum + snapshot.clustersChecked, 0);
  const whole = result.snapshots.filter(({ ok }) => ok).length;
  const count = `${image}: ${result.findings.length} findings; ${whole} of ${result.snapshots.length} snapshots whole, ${clusters} clusters checked\n`;
  if (result.findings.length > 0) report.print(count);
  else report.printSuccess(count);
  return status;
}

const where = (image: string, finding: Finding) =>
  finding.name === undefined ? image : `${image}@${finding.name}`;

function verificationJson(result: Verification, ok: boolean): object {
  const { image, snapshots, findings } = result;
  return {
    image,
    ok,
    snapshots: snapshots.map((snapshot) => ({
      name: snapshot.name,
      ok: snapshot.ok,
      clustersChecked: snapshot.clustersChecked,
      ...(snapshot.digest !== undefined && { digest: snapshot.digest }),
      ...(snapshot.recordedDigest !== undefined && { recordedDigest: snapshot.recordedDigest }),
    })),
    findings: findings.map((finding) => ({
      snapshot: finding.name === undefined ? null : where(image, finding),
      kind: finding.kind,
      ...(finding.clusterIndex !== undefined && { cluster: finding.clusterIndex }),
      message: finding.message,
    })),
  };
}

/** One that could not be read as an entry of `findings`, and the exit status that it asks for. */
function failureJson(image: string, { name, failure }: SnapshotDigest): object {
  return { snapshot: `${image}@${name}`, kind: failure?.code ?? 'damage', message: failure?.message ?? '' };
}

/** Damage weighs more than a lack of trust; an invalid snapshot that nobody named weighs nothing. */
function digestStatus(results: readonly SnapshotDigest[], named: boolean): number {
  const codes = new Set(results.map(({ failure }) => failure?.code));
  if (codes.has('damage')) return 3;
  if (codes.has('modified')) return 5;
  return codes.has('invalid') && named ? 5 : 0;
}

async function digest(work: Work): Promise<number> {
  const { context, report, image, names } = work;
  const { digestSnapshots } = await import('../core/snapshot/compare.ts');
  const results = await digestSnapshots(context, image, names, (result) => {
    if (work.json) return;
    if (result.digest !== undefined) report.print(`${result.digest}  ${image}@${result.name}\n`);
    else
      report.warn({
        message: result.failure?.message ?? `${image}@${result.name}: cannot be read`,
        loss: true,
      });
  });
  const status = digestStatus(results, names.length > 0);
  if (work.json) report.json(digestsJson(image, status === 0, results));
  return status;
}

function digestsJson(image: string, ok: boolean, results: readonly SnapshotDigest[]): object {
  return {
    image,
    ok,
    snapshots: results.map(({ name, digest: hex, recordedDigest, failure }) => ({
      name,
      ok: failure === undefined,
      clustersChecked: 0,
      ...(hex !== undefined && { digest: `xxh64:${hex}` }),
      ...(recordedDigest !== undefined && { recordedDigest }),
    })),
    findings: results
      .filter(({ failure }) => failure !== undefined)
      .map((result) => failureJson(image, result)),
  };
}

/** Lines of `xxhsum -H1` by the snapshot's name in them; other lines are passed over. */
function expectedDigests(lines: string): Map<string, string> {
  const expected = new Map<string, string>();
  for (const line of lines.split('\n')) {
    const match = /^([0-9a-fA-F]{16}) [ *](?:.*@)?([^@]+?)\r?$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) expected.set(match[2], match[1].toLowerCase());
  }
  return expected;
}

async function check(work: Work, lines: string): Promise<number> {
  const { context, report, image } = work;
  const expected = expectedDigests(lines);
  const wanted =
    work.names.length > 0 ? work.names.filter((name) => expected.has(name)) : [...expected.keys()];
  if (wanted.length === 0) {
    throw new SnapError('not-found', `${image}: no line of the list is about its snapshots`, {
      hint: 'the lines are those that snap-verify --digest prints',
    });
  }
  const results: SnapshotDigest[] = [];
  for (const name of wanted) results.push(await digestIfThere(context, image, name));
  const isOk = (result: SnapshotDigest) =>
    result.digest !== undefined && result.digest === expected.get(result.name);
  const gone = results.filter(({ failure }) => failure?.code === 'not-found');
  const failed = results.filter((result) => !isOk(result) && !gone.includes(result));
  const status = failed.length > 0 ? 3 : gone.length > 0 ? 1 : 0;
  if (work.json) {
    report.json(digestsJson(image, status === 0, results));
    return status;
  }
  for (const result of results) {
    report.print(`${image}@${result.name}: ${isOk(result) ? 'OK' : 'FAILED'}\n`);
    if (result.failure !== undefined) report.warn({ message: result.failure.message, loss: true });
  }
  return status;
}

/** The digest of one snapshot; one that is gone is a result too. */
async function digestIfThere(context: Context, image: string, name: string): Promise<SnapshotDigest> {
  const { digestSnapshots } = await import('../core/snapshot/compare.ts');
  try {
    const [result] = await digestSnapshots(context, image, [name], () => undefined);
    if (result !== undefined) return result;
  } catch (error) {
    if (hasCode(error, 'not-found') && error.snapshot !== undefined) {
      return { name, digest: undefined, recordedDigest: undefined, failure: error };
    }
    throw error;
  }
  throw new Error('a named snapshot has a digest or an error');
}

async function compare(work: Work): Promise<number> {
  const { context, report, image } = work;
  const { compareWithOrigin } = await import('../core/snapshot/compare.ts');
  const differences = await compareWithOrigin(context, image, work.names);
  const same = differences.every(({ bytesChanged }) => bytesChanged === 0);
  if (work.json) {
    const snapshots = differences.map(({ name, clustersChanged, bytesChanged }) => ({
      name,
      ok: bytesChanged === 0,
      clustersChecked: 0,
      clustersChanged,
      bytesChanged,
    }));
    report.json({ image, ok: same, snapshots, findings: [] });
    return same ? 0 : 3;
  }
  for (const { name, clustersChanged, bytesChanged } of differences) {
    report.print(`${image}@${name}: ${clustersChanged} clusters, ${bytesChanged} bytes differ\n`);
  }
  return same ? 0 : 3;
}
