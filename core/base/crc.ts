/** Cyclic redundancy checks of 16 and 32 bits, reflected, as file systems and partition tables have them. */

/** Continues from `seed`. Nothing is inverted, neither at the start nor at the end: that is for whose check it is. */
export type Crc = (bytes: Uint8Array, seed: number) => number;

/** @param polynomial reflected; it says how many bits there are */
function makeCrc(polynomial: number): Crc {
  const table = Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ ((value & 1) === 1 ? polynomial : 0);
    return value;
  });
  return (bytes, seed) => {
    let value = seed;
    for (let at = 0; at < bytes.length; at += 1) {
      value = (value >>> 8) ^ (table[(value ^ (bytes[at] ?? 0)) & 0xff] ?? 0);
    }
    return value >>> 0;
  };
}

export const crc16 = makeCrc(0xa001);
export const crc32 = makeCrc(0xedb88320);
export const crc32c = makeCrc(0x82f63b78);
