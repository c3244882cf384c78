/** What is done to the files of a sidecar: a list of edits, small enough to be read and to be made smaller. */
import type { Scene } from '../damage/scene.ts';
import { type Files, mendCatalog, mendCheck, PARTS } from './sidecar-parts.ts';

/** The way to a member of the catalog's JSON. */
export type JsonPath = readonly (string | number)[];

/** With `mend`, the check over what was changed is made to hold again: no damage then, but a forgery. */
export type Edit =
  | {
      readonly do: 'field';
      readonly part: string;
      readonly field: string;
      readonly hex: string;
      readonly mend: boolean;
    }
  | { readonly do: 'bytes'; readonly file: string; readonly at: number; readonly hex: string }
  /** Sets a member to a value, or to what stands at `from`; without both it goes. */
  | {
      readonly do: 'json';
      readonly path: JsonPath;
      readonly value?: unknown;
      readonly from?: JsonPath;
      readonly mend: boolean;
    }
  /** Replaces a piece of the catalog's text by another, `times` times. */
  | {
      readonly do: 'text';
      readonly at: number;
      readonly drop: number;
      readonly text: string;
      readonly times: number;
      readonly mend: boolean;
    }
  | { readonly do: 'size'; readonly file: string; readonly sizeBytes: number }
  | { readonly do: 'older'; readonly file: string; readonly step: number }
  | { readonly do: 'swap'; readonly file: string; readonly other: string }
  | { readonly do: 'remove'; readonly file: string };

type Json = Record<string | number, unknown>;

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null;
}

/** What stands at `path`, or undefined. */
export function jsonAt(root: unknown, path: JsonPath): unknown {
  return path.reduce<unknown>(
    (node, key) => (isJson(node) && Object.hasOwn(node, key) ? node[key] : undefined),
    root,
  );
}

function editJson(text: string, edit: Edit & { do: 'json' }): string {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    return text;
  }
  const value = edit.from === undefined ? edit.value : structuredClone(jsonAt(root, edit.from));
  const holder = jsonAt(root, edit.path.slice(0, -1));
  const key = edit.path.at(-1);
  if (!isJson(holder) || key === undefined) return text;
  if (value !== undefined)
    Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
  else if (Array.isArray(holder) && typeof key === 'number') holder.splice(key, 1);
  else delete holder[key];
  return `${JSON.stringify(root, null, 2)}\n`;
}

function editCatalog(files: Files, mend: boolean, change: (text: string) => string): void {
  const bytes = files.get('catalog.json');
  if (bytes === undefined) return;
  const text = change(bytes.toString('utf8'));
  files.set('catalog.json', Buffer.from(mend ? mendCatalog(text) : text));
}

/** Writes what fits into the file as it is; into a copy, since the scene's own are for everybody. */
function overwrite(files: Files, file: string, at: number, hex: string): void {
  const bytes = Buffer.from(files.get(file) ?? '');
  if (at >= bytes.length) return;
  Buffer.from(hex, 'hex').copy(bytes, at);
  files.set(file, bytes);
}

function editField(files: Files, edit: Edit & { do: 'field' }): void {
  const part = PARTS.get(edit.part);
  const field = part?.fields[edit.field];
  if (part === undefined || field === undefined) throw new Error(`no ${edit.field} in ${edit.part}`);
  overwrite(files, part.file, part.at + field.at, edit.hex);
  if (edit.mend) mendCheck(files, part);
}

/** Everything that is done to a file as a whole. */
function editWhole(files: Files, scene: Scene, edit: Edit): void {
  if (edit.do === 'size') {
    const resized = Buffer.alloc(edit.sizeBytes);
    files.get(edit.file)?.copy(resized);
    files.set(edit.file, resized);
  } else if (edit.do === 'older') {
    const older = scene.history[edit.step]?.get(edit.file);
    if (older !== undefined) files.set(edit.file, older);
  } else if (edit.do === 'swap') {
    const [file, other] = [files.get(edit.file), files.get(edit.other)];
    if (file !== undefined) files.set(edit.other, file);
    if (other !== undefined) files.set(edit.file, other);
  } else if (edit.do === 'remove') files.delete(edit.file);
}

function apply(files: Files, scene: Scene, edit: Edit): void {
  if (edit.do === 'field') editField(files, edit);
  else if (edit.do === 'bytes') overwrite(files, edit.file, edit.at, edit.hex);
  else if (edit.do === 'json') editCatalog(files, edit.mend, (text) => editJson(text, edit));
  else if (edit.do === 'text') {
    const { at, drop, text, times, mend } = edit;
    editCatalog(files, mend, (old) => old.slice(0, at) + text.repeat(times) + old.slice(at + drop));
  } else editWhole(files, scene, edit);
}

/** The files of the scene before any edit. */
export function wholeFiles(scene: Scene): ReadonlyMap<string, Buffer> {
  return scene.history.at(-1) ?? new Map<string, Buffer>();
}

/** The files of the scene after these edits. Those that are gone are left out, those that are the same are the scene's. */
export function editedFiles(scene: Scene, edits: readonly Edit[]): Files {
  const files: Files = new Map(wholeFiles(scene));
  for (const edit of edits) apply(files, scene, edit);
  return files;
}

export function isOfState(edit: Edit): boolean {
  if (edit.do === 'field') return edit.part === 'state';
  return ('file' in edit && edit.file === 'state') || (edit.do === 'swap' && edit.other === 'state');
}

/**
 * Whether these edits are damage, so that right bytes or an error are all there may be. A check that was made to hold
 * again can say what is not so. A file from another time is noticed if the others are whole. That the flush of the last
 * batch returned is known from `state`, and from a bitmap that comes to the flush record; with neither, an entry of it
 * is not missed.
 */
export function isDamage(edits: readonly Edit[]): boolean {
  const isMoved = edits.some((edit) => edit.do === 'older' || edit.do === 'swap');
  const most = isMoved ? 1 : edits.some(isOfState) ? 2 : Number.POSITIVE_INFINITY;
  return !isForged(edits) && edits.length <= most;
}

/** Whether a check was made to hold again over what was changed. */
export function isForged(edits: readonly Edit[]): boolean {
  return edits.some((edit) => 'mend' in edit && edit.mend);
}

/** Whether bytes that pass a check can only be those that were there before. */
export function isPlainDamage(edits: readonly Edit[]): boolean {
  return !isForged(edits) && !edits.some((edit) => edit.do === 'older' || edit.do === 'swap');
}
