/** snap-verify IMAGE | IMAGE@NAME ...: looks whether everything still is what was frozen, and changes nothing. */
import { hasCode, SnapError } from '../core/base/errors.ts';
import type { OriginDifference, SnapshotDigest } from '../core/snapshot/compare.ts';
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
    origin: flag(
      'tell how much of the image has changed since each snapshot, of what each was to keep (--candidates)',
    ),
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
  const whole = result.snapshots.filter(({ ok }) => ok);
  // Where something is wrong, what can still be relied on is asked next.
  if (result.findings.length > 0)
    for (const { name } of whole) report.printSuccess(`${image}@${name}: whole\n`);
  const count = `${image}: ${plural(result.findings.length, 'finding')}; ${whole.length} of ${result.snapshots.length} snapshots whole, ${plural(clusters, 'cluster')} checked\n`;
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
  const { report, image } = work;
  const expected = expectedDigests(lines);
  const wanted = work.names.length > 0 ? work.names : [...expected.keys()];
  if (!wanted.some((name) => expected.has(name))) {
    throw new SnapError('not-found', `${image}: no line of the list is about its snapshots`, {
      hint: 'the lines are those that snap-verify --digest prints',
    });
  }
  const results: SnapshotDigest[] = [];
  for (const name of wanted) results.push(await checkOne(work, name, expected.get(name)));
  // One that is gone, or that the list lacks, was not compared: neither OK nor FAILED.
  const compared = results.filter(({ failure }) => failure?.code !== 'not-found');
  const failed = compared.some(({ failure }) => failure !== undefined);
  const status = failed ? 3 : compared.length < results.length ? 1 : 0;
  if (work.json) {
    report.json(digestsJson(image, status === 0, results));
    return status;
  }
  for (const result of results) {
    const { failure } = result;
    if (failure === undefined) report.printSuccess(`${image}@${result.name}: OK\n`);
    else if (compared.includes(result)) report.print(`${image}@${result.name}: FAILED\n`);
    if (failure !== undefined && failure.code !== 'differs')
      report.warn({ message: failure.message, loss: true });
  }
  return status;
}

/** The digest of one snapshot, a failure where it is not the one that the list has. */
async function checkOne(
  { context, image }: Work,
  name: string,
  expected: string | undefined,
): Promise<SnapshotDigest> {
  if (expected === undefined) {
    const failure = new SnapError('not-found', `${image}@${name}: no line of the list is about it`);
    return { name, digest: undefined, recordedDigest: undefined, failure };
  }
  const result = await digestIfThere(context, image, name);
  if (result.failure !== undefined || result.digest === expected) return result;
  const message = `${image}@${name}: reads as ${result.digest}, but ${expected} is in the list`;
  return { ...result, failure: new SnapError('differs', message) };
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
  const status = compareStatus(differences, work.names.length > 0);
  if (work.json) {
    report.json(differencesJson(image, status === 0, differences));
    return status;
  }
  for (const { name, failure, clustersChanged, bytesChanged } of differences) {
    if (failure !== undefined) report.warn({ message: failure.message, hint: failure.hint, loss: true });
    else
      report.print(
        `${image}@${name}: ${plural(clustersChanged, 'cluster')}, ${plural(bytesChanged, 'byte')} differ\n`,
      );
  }
  return status;
}

/** A difference or damage weighs more than a lack of trust; an invalid snapshot that nobody named weighs nothing. */
function compareStatus(differences: readonly OriginDifference[], named: boolean): number {
  const codes = new Set(differences.map(({ failure }) => failure?.code));
  if (codes.has('damage') || differences.some(({ bytesChanged }) => bytesChanged > 0)) return 3;
  return codes.has('modified') || (codes.has('invalid') && named) ? 5 : 0;
}

function differencesJson(image: string, ok: boolean, differences: readonly OriginDifference[]): object {
  return {
    image,
    ok,
    snapshots: differences.map(({ name, failure, clustersChanged, bytesChanged }) => ({
      name,
      ok: failure === undefined && bytesChanged === 0,
      clustersChecked: 0,
      ...(failure === undefined && { clustersChanged, bytesChanged }),
    })),
    findings: differences
      .filter(({ failure }) => failure !== undefined)
      .map(({ name, failure }) => ({
        snapshot: `${image}@${name}`,
        kind: failure?.code,
        message: failure?.message,
      })),
  };
}

const plural = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;
