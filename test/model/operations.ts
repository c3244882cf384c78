/**
 * The operations of the model test as plain records: what fast-check makes and shrinks. They name no byte and no
 * snapshot, only where to look for one, so that any of them means something in any state.
 */
import fc from 'fast-check';

/** A place near a border: of a cluster, or of the image where `clusters` is past its end. */
export interface Place {
  readonly clusters: number;
  readonly skewBytes: number;
}

/** Dies, or is answered with an errno, at the given operation on a file; `changes` counts only those that change. */
export interface Trouble {
  readonly how: 'kill' | 'EIO' | 'ENOSPC';
  readonly after: number;
  readonly lasting: boolean;
}

export interface CreateOp {
  readonly kind: 'create';
  /** Absent for the default name. */
  readonly name: string | undefined;
  readonly limit: { readonly clusters: number; readonly onFull: 'invalidate' | 'refuse' } | undefined;
  /** Ends with the next reboot. */
  readonly transient: boolean;
  /** Then nothing else of what is here counts but name and size of clusters. */
  readonly clone: boolean;
  /** So many clusters a file takes, and then copying goes on in the next. */
  readonly clustersInFile: number | undefined;
  /** Counts only while there is no snapshot. */
  readonly clusterSizeBytes: number;
  /** Which clusters are candidates follows from this; all are where it is absent. */
  readonly candidateSeed: number | undefined;
  readonly trouble: Trouble | undefined;
}

export interface WriteOp {
  readonly kind: 'write';
  readonly at: Place;
  readonly length: Place;
  readonly fill: 'random' | 'zeros' | 'present' | 'mixed';
  readonly mode: 'plain' | 'delta' | 'zero-source';
  readonly extend: boolean;
  readonly sync: boolean;
  /** Where given, the input comes in pieces of this size. */
  readonly pieceBytes: number | undefined;
  readonly seed: number;
  readonly trouble: Trouble | undefined;
}

export interface RemoveOp {
  readonly kind: 'remove';
  readonly picks: readonly number[];
  readonly trouble: Trouble | undefined;
}

export interface CollectOp {
  readonly kind: 'collect';
  /** By rule; where absent only invalid ones go. */
  readonly keepLast: number | undefined;
  readonly dryRun: boolean;
  readonly trouble: Trouble | undefined;
}

export interface OutsideOp {
  readonly kind: 'outside';
  readonly how: 'write' | 'touch' | 'resize';
  readonly at: Place;
  readonly length: Place;
  readonly seed: number;
}

export interface RebootOp {
  readonly kind: 'reboot';
}

/** Reads one snapshot while others are at work: an operation after each piece that the consumer got. */
export interface ReadDuringOp {
  readonly kind: 'read-during';
  readonly pick: number;
  readonly during: readonly (WriteOp | OutsideOp | RemoveOp | CreateOp)[];
}

export type SimpleOp = CreateOp | WriteOp | RemoveOp | CollectOp | OutsideOp | RebootOp;
export type Op = SimpleOp | ReadDuringOp;

export interface Setup {
  readonly clusterSizeBytes: number;
  readonly sizeBytes: number;
  readonly seed: number;
}

const CLUSTER_SIZES_BYTES = [4096, 8192, 65_536] as const;

/** One out of `outOf` times, else undefined, which is what it shrinks to. */
function oneIn<T>(outOf: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.oneof(
    { withCrossShrink: true },
    { arbitrary: fc.constant(undefined), weight: outOf - 1 },
    { arbitrary, weight: 1 },
  );
}

const seeds = fc.nat(999);
const skews = fc.oneof(
  { arbitrary: fc.constant(0), weight: 4 },
  { arbitrary: fc.integer({ min: -2, max: 2 }), weight: 3 },
  { arbitrary: fc.nat(4095), weight: 2 },
);
const places: fc.Arbitrary<Place> = fc.record({ clusters: fc.nat(45), skewBytes: skews });
const lengths: fc.Arbitrary<Place> = fc.record({
  clusters: fc.oneof({ arbitrary: fc.nat(3), weight: 4 }, { arbitrary: fc.nat(40), weight: 1 }),
  skewBytes: skews,
});
const troubles: fc.Arbitrary<Trouble | undefined> = oneIn(
  3,
  fc.record({
    how: fc.constantFrom('kill', 'kill', 'EIO', 'ENOSPC'),
    // Most batches are between the 20th and the 60th operation of their command.
    after: fc.oneof(fc.nat(110), fc.integer({ min: 20, max: 60 })),
    lasting: fc.boolean(),
  }),
);
const noTrouble = fc.constant(undefined);
const limits = oneIn(
  3,
  fc.record({ clusters: fc.integer({ min: 1, max: 8 }), onFull: fc.constantFrom('invalidate', 'refuse') }),
);

function creates(trouble: fc.Arbitrary<Trouble | undefined>): fc.Arbitrary<CreateOp> {
  return fc.record({
    kind: fc.constant('create'),
    name: oneIn(2, fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')),
    limit: limits,
    clustersInFile: oneIn(4, fc.integer({ min: 1, max: 6 })),
    transient: fc.constantFrom(false, false, false, true),
    clone: fc.constantFrom(false, false, false, false, true),
    clusterSizeBytes: fc.constantFrom(...CLUSTER_SIZES_BYTES),
    candidateSeed: oneIn(2, seeds),
    trouble,
  });
}

function writes(trouble: fc.Arbitrary<Trouble | undefined>): fc.Arbitrary<WriteOp> {
  return fc.record({
    kind: fc.constant('write'),
    at: places,
    length: lengths,
    fill: fc.constantFrom('random', 'random', 'zeros', 'present', 'mixed'),
    mode: fc.constantFrom('plain', 'plain', 'delta', 'zero-source'),
    extend: fc.constantFrom(true, true, false),
    sync: fc.constantFrom(true, true, false),
    pieceBytes: oneIn(3, fc.constantFrom(4096, 4097, 65_535)),
    seed: seeds,
    trouble,
  });
}

function removes(trouble: fc.Arbitrary<Trouble | undefined>): fc.Arbitrary<RemoveOp> {
  return fc.record({
    kind: fc.constant('remove'),
    picks: fc.array(fc.nat(7), { minLength: 1, maxLength: 3 }),
    trouble,
  });
}

const collects: fc.Arbitrary<CollectOp> = fc.record({
  kind: fc.constant('collect'),
  keepLast: oneIn(2, fc.integer({ min: 1, max: 4 })),
  dryRun: fc.boolean(),
  trouble: troubles,
});

const outsides: fc.Arbitrary<OutsideOp> = fc.record({
  kind: fc.constant('outside'),
  how: fc.constantFrom('write', 'write', 'touch', 'resize'),
  at: places,
  length: lengths,
  seed: seeds,
});

const readDurings: fc.Arbitrary<ReadDuringOp> = fc.record({
  kind: fc.constant('read-during'),
  pick: fc.nat(7),
  during: fc.array(
    fc.oneof(
      { arbitrary: writes(noTrouble), weight: 5 },
      { arbitrary: removes(noTrouble), weight: 2 },
      { arbitrary: creates(noTrouble), weight: 1 },
      { arbitrary: outsides, weight: 1 },
    ),
    { minLength: 1, maxLength: 3 },
  ),
});

export const operations: fc.Arbitrary<Op[]> = fc.array(
  fc.oneof(
    { arbitrary: creates(troubles), weight: 6 },
    { arbitrary: writes(troubles), weight: 12 },
    { arbitrary: removes(troubles), weight: 3 },
    { arbitrary: collects, weight: 2 },
    { arbitrary: readDurings, weight: 3 },
    { arbitrary: outsides, weight: 1 },
    { arbitrary: fc.constant<RebootOp>({ kind: 'reboot' }), weight: 1 },
  ),
  { minLength: 1, maxLength: 14, size: 'max' },
);

/** Sizes around the borders of clusters, mostly of few and small ones: a sequence must not take long. */
const sizes: fc.Arbitrary<number> = fc.oneof(
  { arbitrary: fc.constantFrom(0, 1, 4095, 4096, 4097, 8191, 8193, 3 * 4096 + 1, 65_536), weight: 3 },
  {
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: -1, max: 1 }))
      .map(([clusters, skewBytes]) => clusters * 4096 + skewBytes),
    weight: 8,
  },
  { arbitrary: fc.constantFrom(40 * 4096 - 1, 65_536 * 2 + 1, 65_536 * 3 - 1), weight: 2 },
);

/** Now and then an image that is read in several runs. */
const largeSizes = fc.constantFrom(65_536 * 17 + 1, 65_536 * 34);

export const setups: fc.Arbitrary<Setup> = fc.oneof(
  {
    arbitrary: fc.record({
      clusterSizeBytes: fc.constantFrom(4096, 4096, 8192, 65_536),
      sizeBytes: sizes,
      seed: seeds,
    }),
    weight: 60,
  },
  {
    arbitrary: fc.record({ clusterSizeBytes: fc.constant(65_536), sizeBytes: largeSizes, seed: seeds }),
    weight: 1,
  },
);
