/** snap-gc IMAGE | IMAGE@NAME ...: removes snapshots, by name or by rule, and reclaims their space. */
import { SnapError } from '../core/base/errors.ts';
import { parseDuration } from '../core/base/time.ts';
import { formatSize, parseCount, parseSize } from '../core/base/units.ts';
import type { Acceptance } from '../core/snapshot/accept-origin.ts';
import type { Collection } from '../core/snapshot/collect.ts';
import { runCommand } from './shared/command.ts';
import { oneImage } from './shared/image.ts';
import { declareCommand, flag, many, type ParsedOptions, value } from './shared/options.ts';
import type { Reporter } from './shared/report.ts';

const count = (what: string) => value('N', parseCount, `keep ${what} (1 or more, or unlimited)`);
const within = (what: string) =>
  value('DURATION', parseDuration, `keep ${what} not older than this before the newest`);

const options = {
  keepLast: count('the last N'),
  keepHourly: count('the last of each of N hours that have one'),
  keepDaily: count('the last of each of N days'),
  keepWeekly: count('the last of each of N weeks'),
  keepMonthly: count('the last of each of N months'),
  keepYearly: count('the last of each of N years'),
  keepWithin: value('DURATION', parseDuration, 'keep all not older than this before the newest: 2y5m7d3h'),
  keepWithinHourly: within('hourly ones'),
  keepWithinDaily: within('daily ones'),
  keepWithinWeekly: within('weekly ones'),
  keepWithinMonthly: within('monthly ones'),
  keepWithinYearly: within('yearly ones'),
  maxTotal: value('SIZE', parseSize, 'then remove the oldest until all stores fit, never the newest'),
  acceptOrigin: flag('trust a changed origin again where a snapshot still reads as its recorded digest says'),
  dryRun: flag('change nothing; say what would happen'),
};

const spec = declareCommand({
  name: 'snap-gc',
  usage: ['IMAGE@NAME...', 'IMAGE [RULE]...'],
  description:
    'Removes the named snapshots; or, given an image and rules, those that no rule keeps (the rules mean what ' +
    "restic's do, in UTC). What older snapshots still need is handed to them first; one that is being read is hidden " +
    'at once and reclaimed by a later run. IMAGE alone removes what is invalid and what interrupted commands left.',
  arguments: { targets: many('IMAGE|IMAGE@NAME', 'an image, or snapshots of it', 1) },
  options,
  examples: [
    { text: 'One snapshot:', command: 'snap-gc disk.img@before-upgrade' },
    { text: 'A week of days, a month of weeks:', command: 'snap-gc disk.img --keep-daily 7 --keep-weekly 4' },
    { text: 'See first:', command: 'snap-gc disk.img --keep-last 3 --dry-run' },
  ],
  exits: [3, 4],
});

type Options = ParsedOptions<typeof options, typeof spec.arguments>;

runCommand(spec, async (given, { context, report }) => {
  const { image, names } = await oneImage(context.host.files, given.targets);
  const rules = chosenRules(given);
  const byRule = Object.values(rules).some((rule) => rule !== undefined) || given.maxTotal !== undefined;
  if (names.length > 0 && (byRule || given.acceptOrigin)) {
    const what = byRule ? 'rules are' : '--accept-origin is';
    throw new SnapError('usage', `${what} for a whole image, not for named snapshots`, {
      hint: `give ${image}`,
    });
  }
  const { dryRun } = given;
  if (given.acceptOrigin) {
    const { acceptOrigin } = await import('../core/snapshot/accept-origin.ts');
    for (const acceptance of await acceptOrigin(context, image, { dryRun }))
      tellAcceptance(report, image, acceptance);
  }
  const { collectSnapshots } = await import('../core/snapshot/collect.ts');
  const request = {
    names: names.length > 0 ? names : undefined,
    rules,
    maxTotalBytes: given.maxTotal,
    dryRun,
  };
  const collection = await collectSnapshots(context, image, request);
  if (given.json) report.json(collection);
  else tell(report, collection);
  return 0;
});

function chosenRules(given: Options) {
  return {
    keepLast: given.keepLast,
    keepHourly: given.keepHourly,
    keepDaily: given.keepDaily,
    keepWeekly: given.keepWeekly,
    keepMonthly: given.keepMonthly,
    keepYearly: given.keepYearly,
    keepWithin: given.keepWithin,
    keepWithinHourly: given.keepWithinHourly,
    keepWithinDaily: given.keepWithinDaily,
    keepWithinWeekly: given.keepWithinWeekly,
    keepWithinMonthly: given.keepWithinMonthly,
    keepWithinYearly: given.keepWithinYearly,
  };
}

function tellAcceptance(report: Reporter, image: string, { name, accepted, reason }: Acceptance): void {
  const snapshot = `${image}@${name}`;
  if (accepted) report.success(`${snapshot}: reads as its recorded digest says, and is trusted again`);
  else report.warn({ message: `${snapshot}: stays marked: ${reason}`, loss: true });
}

function tell(report: Reporter, { image, dryRun, kept, removed, bytesFreed }: Collection): void {
  // A dry run's plan is what was asked for; a real one's is only a report of success.
  const say = (text: string) => (dryRun ? report.print(text) : report.printSuccess(text));
  const line = (verb: string, name: string, reasons: readonly string[]) =>
    `${verb} ${image}@${name}${reasons.length > 0 ? ` (${reasons.join(', ')})` : ''}\n`;
  for (const { name, reasons } of kept) say(line(dryRun ? 'would keep' : 'kept', name, reasons));
  for (const { name, reasons } of removed) {
    say(line(dryRun ? 'would remove' : 'removed', name, reasons));
  }
  say(`${formatSize(bytesFreed)} ${dryRun ? 'would be freed' : 'freed'}\n`);
}
