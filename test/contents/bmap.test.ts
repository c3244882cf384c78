/** Block maps as bmaptool makes them: which clusters they keep, and that none is believed that does not fit. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { getBit } from '../../core/base/bitmap.ts';
import { SnapError } from '../../core/base/errors.ts';
import { candidatesOfBmap } from '../../core/contents/bmap.ts';
import { noise, skipWithout, workplace } from '../support/commands.ts';

const IMAGE_BYTES = 1_000_000;

/** A map with its own checksum, as bmaptool writes it but for the comments. */
function bmapOf(ranges: readonly string[], changes: Readonly<Record<string, string>> = {}): string {
  const mapped = ranges.reduce((sum, range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return sum + last - first + 1;
  }, 0);
  const fields = {
    version: '2.0',
    ImageSize: String(IMAGE_BYTES),
    BlockSize: '4096',
    BlocksCount: '245',
    MappedBlocksCount: String(mapped),
    ChecksumType: 'sha256',
    ...changes,
  };
  const lines = (['ImageSize', 'BlockSize', 'BlocksCount', 'MappedBlocksCount', 'ChecksumType'] as const).map(
    (name) => `    <${name}> ${fields[name]} </${name}>`,
  );
  const type = fields.ChecksumType === 'sha1' ? 'sha1' : 'sha256';
  const zeros = '0'.repeat(type === 'sha1' ? 40 : 64);
  const list = ranges.map((range) => `        <Range chksum="${'ab'.repeat(32)}"> ${range} </Range>`);
  const text = `<?xml version="1.0" ?>
<!-- <ImageSize> is told below -->
<bmap version="${fields.version}">
${lines.join('\n')}
    <BmapFileChecksum> ${zeros} </BmapFileChecksum>
    <BlockMap>
${list.join('\n')}
    </BlockMap>
</bmap>
`;
  return text.replace(zeros, createHash(type).update(text).digest('hex'));
}

async function kept(text: string, clusterSizeBytes = 4096, sizeBytes = IMAGE_BYTES): Promise<number[]> {
  const { candidates, doubts } = await candidatesOfBmap(text, 'the.bmap')(undefined, {
    sizeBytes,
    clusterSizeBytes,
  });
  assert.deepEqual(doubts, []);
  assert.ok(candidates !== undefined);
  const count = candidates.length * 8;
  return Array.from({ length: count }, (_, index) => index).filter((index) => getBit(candidates, index));
}

test('mapped blocks are kept, ranges being inclusive, and clusters that they touch', async () => {
  const text = bmapOf(['0', '5-7', '100', '244']);
  assert.deepEqual(await kept(text), [0, 5, 6, 7, 100, 244]);
  assert.deepEqual(await kept(text, 8192), [0, 2, 3, 50, 122]);
  assert.deepEqual(await kept(text, 65_536), [0, 6, 15]);
  assert.deepEqual(await kept(bmapOf([])), []);
  assert.deepEqual(await kept(bmapOf(['0-244'], { ChecksumType: 'sha1' }), 65_536), [...Array(16).keys()]);
});

test('what bmaptool makes of a sparse file', async (t) => {
  if (skipWithout(t, 'bmaptool')) return;
  const work = await workplace(t);
  writeFileSync(work.path('disk.img'), '');
  truncateSync(work.path('disk.img'), IMAGE_BYTES);
  const descriptor = openSync(work.path('disk.img'), 'r+');
  writeSync(descriptor, noise(1, 3 * 4096), 0, 3 * 4096, 5 * 4096);
  writeSync(descriptor, noise(2, 4096), 0, 4096, 100 * 4096);
  closeSync(descriptor);
  const text = execFileSync('bmaptool', ['create', work.path('disk.img')], { encoding: 'utf8' });
  const found = await kept(text);
  const told = [...text.matchAll(/> (\d+)(?:-(\d+))? <.Range>/g)].flatMap(([, first = '', last = first]) =>
    Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => Number(first) + index),
  );
  assert.deepEqual(found, told);
  // File systems may allocate more than was written.
  for (const index of [5, 6, 7, 100]) assert.ok(found.includes(index), `block ${index} has data`);
});

const WRONG: Readonly<Record<string, readonly [text: string, why: RegExp]>> = {
  'no XML': ['0-5\n', /not XML/],
  'an empty file': ['', /not XML/],
  'XML that is cut': [bmapOf(['5-7']).slice(0, 300), /not XML/],
  'other XML': ['<?xml version="1.0"?><html/>', /no block map of version 2/],
  'version 1': [bmapOf(['5-7'], { version: '1.3' }), /no block map of version 2/],
  'version 3': [bmapOf(['5-7'], { version: '3.0' }), /no block map of version 2/],
  'a range that was changed': [bmapOf(['5-7']).replace('5-7', '5-8'), /its own checksum/],
  'a checksum that is missing': [
    bmapOf(['5-7']).replace(/<BmapFileChecksum>.*<.BmapFileChecksum>/, ''),
    /has no BmapFileChecksum/,
  ],
  'a checksum of a kind that is not known': [
    bmapOf(['5-7'], { ChecksumType: 'crc32' }),
    /"crc32" is not known/,
  ],
  'a range past the end': [bmapOf(['5-245']), /is none of the image/],
  'a range that goes backwards': [bmapOf(['0-9', '7-5']), /is none of the image/],
  'a range that is none': [bmapOf(['5-7']).replace('5-7', '5:7'), /its own checksum/],
  'a count of blocks that does not fit': [bmapOf(['5-7'], { BlocksCount: '244' }), /contradict each other/],
  'a count of mapped blocks that does not fit': [
    bmapOf(['5-7'], { MappedBlocksCount: '4' }),
    /not all that were mapped/,
  ],
  'a size that is no number': [bmapOf(['5-7'], { ImageSize: '1e6' }), /its ImageSize is no number/],
  'blocks without size': [bmapOf(['5-7'], { BlockSize: '0' }), /contradict each other/],
};

for (const [name, [text, why]] of Object.entries(WRONG)) {
  test(`refused: ${name}`, () => {
    assert.throws(
      () => candidatesOfBmap(text, 'the.bmap'),
      (error) => {
        assert.ok(error instanceof SnapError && error.code === 'refused', String(error));
        assert.match(error.message, why);
        return true;
      },
    );
  });
}

test('refused: the map of an image of another size', async () => {
  await assert.rejects(kept(bmapOf(['5-7']), 4096, IMAGE_BYTES + 1), {
    code: 'refused',
    message: /of an image of 1000000 bytes/,
  });
});
