/** The progress bar: one line on stderr, drawn over itself and gone when there is something else to read. */
import { formatSize } from '../../core/base/units.ts';

const QUIET_MS = 500;
const REDRAW_MS = 200;
const BAR_CELLS = 24;
const CLEAR_LINE = '\r\x1b[K';

export interface ProgressState {
  readonly doneBytes: number;
  readonly totalBytes: number | undefined;
  /** What was done since `elapsedMs` ago; the rate is made of it. */
  readonly recentBytes: number;
  readonly elapsedMs: number;
}

/** `[====>   ]  50%  2.0G of 4.0G  512M/s  0:04 left`; without a total what is done, the rate and the time so far. */
export function renderProgress({ doneBytes, totalBytes, recentBytes, elapsedMs }: ProgressState): string {
  const bytesPerSecond = elapsedMs > 0 ? (recentBytes / elapsedMs) * 1000 : 0;
  const rate = bytesPerSecond > 0 ? `${formatSize(Math.round(bytesPerSecond))}/s` : undefined;
  const parts: (string | undefined)[] = [];
  if (totalBytes === undefined) {
    parts.push(formatSize(doneBytes), rate, formatSeconds(elapsedMs / 1000));
  } else {
    const share = totalBytes > 0 ? Math.min(1, doneBytes / totalBytes) : 1;
    const cells = Math.floor(share * BAR_CELLS);
    const bar = '='.repeat(cells) + (cells < BAR_CELLS ? '>' : '');
    const leftBytes = Math.max(0, totalBytes - doneBytes);
    // Rounded down: 100% is said only when all is done.
    parts.push(`[${bar.padEnd(BAR_CELLS)}] ${String(Math.floor(share * 100)).padStart(3)}%`);
    parts.push(`${formatSize(doneBytes)} of ${formatSize(totalBytes)}`, rate);
    if (bytesPerSecond > 0) parts.push(`${formatSeconds(leftBytes / bytesPerSecond)} left`);
  }
  return parts.filter((part) => part !== undefined).join('  ');
}

function formatSeconds(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = String(whole % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${tail}` : `${minutes}:${tail}`;
}

export interface ProgressBar {
  /** Draws now and then. */
  update(doneBytes: number, totalBytes: number | undefined): void;
  /** Takes the line away where one is drawn; the next update may draw it again. */
  clear(): void;
}

/** `shown`: `forced` draws from the first byte on, `late` only when the work has lasted half a second. */
export function createProgressBar(options: {
  readonly shown: 'no' | 'late' | 'forced';
  readonly monotonicMs: () => number;
  readonly write: (text: string) => void;
}): ProgressBar {
  const { shown, monotonicMs, write } = options;
  let start: { timeMs: number; doneBytes: number } | undefined;
  let latestBytes = 0;
  let nextMs = 0;
  let drawn = false;
  return {
    update(doneBytes, totalBytes) {
      if (shown === 'no') return;
      const timeMs = monotonicMs();
      // Going back means that another part of the work began.
      if (start === undefined || doneBytes < latestBytes) start = { timeMs, doneBytes };
      if (nextMs === 0) nextMs = shown === 'forced' ? timeMs : timeMs + QUIET_MS;
      latestBytes = doneBytes;
      if (timeMs < nextMs) return;
      nextMs = timeMs + REDRAW_MS;
      drawn = true;
      const recentBytes = doneBytes - start.doneBytes;
      write(
        CLEAR_LINE + renderProgress({ doneBytes, totalBytes, recentBytes, elapsedMs: timeMs - start.timeMs }),
      );
    },
    clear() {
      if (drawn) write(CLEAR_LINE);
      drawn = false;
    },
  };
}
