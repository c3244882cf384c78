/**
 * Known mistakes, each a change of one line or two in core, and what finds it: a directed test, or the random simulator.
 */

export interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The test that holds it; the random simulator where absent. */
  readonly test?: string;
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'repair that overwrites the durable record',
    file: 'core/store/proof.ts',
    from: '  const durable = durableRecord(records, suspicion) ?? record;\n',
    to: '  const durable = durableRecord([], suspicion) ?? records[1] ?? record;\n',
    test: 'test/sim/durable-record.test.ts',
  },
  {
    name: 'a flush ahead that failed, forgotten',
    file: 'core/io/flush-behind.ts',
    from: '    if (this.#failure !== undefined) throw this.#failure.error;\n',
    to: '',
  },
  {
    name: 'no flush of a batch',
    file: 'core/store/append.ts',
    from: '    if (this.#options.durable) await store.flush();\n',
    to: '',
  },
  {
    name: 'no flush through a transient store that an older snapshot reads',
    file: 'core/snapshot/cow-writer.ts',
    from: 'persistentRecords(hold.catalog).length > 0',
    to: 'active.record.transient === undefined',
  },
  {
    name: 'origin written first',
    file: 'core/snapshot/cow-writer.ts',
    from: '        const result = await this.#copy(hold, active, fitting, complete);\n',
    to: '        for (const { offsetBytes, data } of extents) await hold.origin.write(data, offsetBytes);\n        const result = await this.#copy(hold, active, fitting, complete);\n',
  },
  {
    name: 'the origin written when a file is full and not all is copied',
    file: 'core/snapshot/cow-writer.ts',
    from: '        if (complete) {\n',
    to: '        if (complete || fitting.length > 0) {\n',
  },
  {
    name: 'a place to spill to forgotten with its snapshot',
    file: 'core/snapshot/remove.ts',
    from: '        ...files.flatMap((record) => unusedPlaces(catalog, record)),\n',
    to: '',
  },
  {
    name: 'a batch noted as flushed before it is',
    file: 'core/store/append.ts',
    from: '    if (this.#options.durable) await store.flush();\n    await noteFlushed(nextRecord);\n',
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
    test: 'test/sim/opening.test.ts',
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
    test: 'test/sim/receiver.test.ts',
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
    test: 'test/sim/sync-point.test.ts',
  },
  {
    name: 'no sync point at the first creation',
    file: 'core/snapshot/first-sidecar.ts',
    from: '  await volume.origin.syncAll();\n  const finalPath',
    to: '  const finalPath',
    test: 'test/sim/sync-point.test.ts',
  },
  {
    name: 'bits set before the flush',
    file: 'core/store/append.ts',
    from: '    await store.writeRecord(nextRecord);\n    if (this.#options.durable) await store.flush();\n    await noteFlushed(nextRecord);\n',
    to: `    for (const clusterIndex of this.#clusters) {
      const bits = Buffer.from(bitmap.bits.subarray(clusterIndex >>> 3, (clusterIndex >>> 3) + 1));
      for (const other of this.#clusters) {
        if (other >>> 3 === clusterIndex >>> 3) bits[0] = (bits[0] ?? 0) | (1 << (other & 7));
      }
      await store.writeBits(bits, clusterIndex >>> 3);
    }
    await store.writeRecord(nextRecord);
    await store.flush();
    await noteFlushed(nextRecord);
`,
  },
  {
    name: 'a state that could not be flushed left as it is',
    file: 'core/snapshot/hold.ts',
    from: '      else await this.replaceState(otherwise);\n',
    to: '',
    test: 'test/sim/state-flush.test.ts',
  },
  {
    name: 'a batch that was given up not recognised',
    file: 'core/store/proof.ts',
    from: 'givenUp === undefined ? await',
    to: 'Number.isNaN(givenUp) ? await',
    test: 'test/sim/given-up.test.ts',
  },
  {
    name: 'repair that leaves the names in its directory',
    file: 'core/store/sidecar.ts',
    from: '    await files.syncDirectory(this.directory);\n',
    to: '',
    test: 'test/sim/names.test.ts',
  },
  {
    name: 'repair that leaves the name of the sidecar',
    file: 'core/store/sidecar.ts',
    from: '    await files.syncDirectory(path.dirname(this.directory));\n',
    to: '',
    test: 'test/sim/names.test.ts',
  },
  {
    name: 'an older flush record believed',
    file: 'core/store/proof.ts',
    from: '  return record.made.batch > atLeast.batch && record.made.count >= atLeast.count;\n',
    to: '  return true;\n',
    test: 'test/damage/sweep.test.ts',
  },
  {
    name: 'an older catalog believed',
    file: 'core/snapshot/recover.ts',
    from: 'catalog.generation < before.generation',
    to: 'catalog.generation < 0',
    test: 'test/damage/sweep.test.ts',
  },
  {
    name: 'the end of a snapshot not durable before its effect',
    file: 'core/snapshot/limits.ts',
    from: "    await hold.commit((catalog) =>\n      records.reduce((changed, { uuid }) => withRecord(changed, uuid, { trust: 'invalid', ending }), catalog),\n    );\n",
    to: "    const ended = { trust: 'invalid', ending } as const;\n    hold.catalog = records.reduce((changed, { uuid }) => withRecord(changed, uuid, ended), hold.catalog);\n",
    test: 'test/sim/ending.test.ts',
  },
  {
    name: 'bits of a hand-over before its flush is noted',
    file: 'core/snapshot/hand-over.ts',
    from: 'append.publish(() => hold.noteHandedOver())',
    to: 'append.publish(async () => undefined)',
    test: 'test/sim/hand-over.test.ts',
  },
  {
    name: 'a hand-over that leaves its bits to nobody',
    file: 'core/snapshot/hand-over.ts',
    from: '    await target.store.flush();\n',
    to: '',
    test: 'test/sim/hand-over.test.ts',
  },
  {
    name: 'candidates: what older snapshots need is forgotten at creation',
    file: 'core/snapshot/candidates.ts',
    from: '    needed[at] = (needed[at] ?? 0) | (before[at] ?? 0);\n',
    to: '',
  },
  {
    name: 'candidates: older snapshots are not asked',
    file: 'core/snapshot/cow-writer.ts',
    from: '  return [...own, ...older].sort((a, b) => a - b);\n',
    to: '  return older.length < 0 ? older : [...own];\n',
  },
  {
    name: "candidates: a hand-over of the receiver's candidates alone",
    file: 'core/snapshot/hand-over.ts',
    from: "this.#receiver, 'needed'",
    to: "this.#receiver, 'candidate'",
  },
  {
    name: 'candidates: bitmaps written after the flush',
    file: 'core/store/store-file.ts',
    from: '      if (bitmaps !== undefined) {\n        await file.write(bitmaps.candidate, store.regions.candidateOffsetBytes);\n        await file.write(bitmaps.needed, store.regions.neededOffsetBytes);\n      }\n      for (const record of EMPTY_STORE_RECORDS) await store.writeRecord(record);\n      await file.truncate(store.regions.dataOffsetBytes);\n      await file.syncAll();\n',
    to: '      for (const record of EMPTY_STORE_RECORDS) await store.writeRecord(record);\n      await file.truncate(store.regions.dataOffsetBytes);\n      await file.syncAll();\n      if (bitmaps !== undefined) {\n        await file.write(bitmaps.candidate, store.regions.candidateOffsetBytes);\n        await file.write(bitmaps.needed, store.regions.neededOffsetBytes);\n      }\n',
  },
  {
    name: 'candidates: believed without their hash',
    file: 'core/snapshot/store-set.ts',
    from: '    if (!this.#provenCandidates.has(key)) await proveCandidates(store, kind);\n',
    to: '',
    test: 'test/damage/sweep.test.ts',
  },
  {
    name: 'device-mapper: an import that is not flushed',
    file: 'core/snapshot/dm-import.ts',
    from: '    await store.flush();\n',
    to: '',
    test: 'test/sim/importing.test.ts',
  },
  {
    name: 'device-mapper: state knows nothing of what was imported',
    file: 'core/snapshot/add-store.ts',
    from: 'record: flushRecord }',
    to: 'record: EMPTY_STORE_RECORD }',
    test: 'test/sim/importing.test.ts',
  },
  {
    name: 'device-mapper: batches of an import have numbers that others get again',
    file: 'core/snapshot/add-store.ts',
    from: 'hold.finish({ batch: Math.max(hold.state.batch, flushRecord.made.batch) })',
    to: 'hold.finish()',
    test: 'test/dm/import.test.ts',
  },
  {
    name: 'device-mapper: a chunk twice',
    file: 'core/snapshot/dm-import.ts',
    from: 'if (twice < 0)',
    to: 'if (twice < Number.POSITIVE_INFINITY)',
    test: 'test/dm/import.test.ts',
  },
  {
    name: 'device-mapper: a write during an export that the time does not tell of',
    file: 'core/snapshot/dm-export.ts',
    from: 'now.stamp !== stamp || ',
    to: '',
    test: 'test/dm/export.test.ts',
  },
  {
    name: 'device-mapper: a change from outside during an export',
    file: 'core/snapshot/dm-export.ts',
    from: ' || modifiedNs !== originTimeNs',
    to: '',
    test: 'test/dm/export.test.ts',
  },
  {
    name: 'device-mapper: the end of a store that nobody looked at again',
    file: 'core/snapshot/dm-export.ts',
    from: 'if (isLast && next >= changed.length) await this.#shared(async () => undefined);',
    to: '',
    test: 'test/dm/export.test.ts',
  },
  {
    name: 'device-mapper: a merge that overwrites what the image has grown by',
    file: 'core/snapshot/dm-export.ts',
    from: 'await readOldContent(hold.origin, hold.originStat.sizeBytes, behind, ownEndBytes);',
    to: 'behind.fill(0);',
    test: 'test/dm/round-trip.test.ts',
  },
];
