// A LUKS header as bytes, made by qemu-img 7.2: `create -f qcow2 -o encrypt.format=luks,encrypt.iter-time=10`.

/** The length in the "full disk encryption header pointer" of that image (ENC-04). */
export const luksAreaLength = 2_068_480;

/** The fixed part and key slot 0; the other seven slots are inactive and differ only in where they lie. */
const start = [
  '4c554b53babe000161657300000000000000000000000000000000000000000000000000000000007874732d706c6169',
  '6e3634000000000000000000000000000000000000000000736861323536000000000000000000000000000000000000',
  '000000000000000000000fc800000040da80049517fd9bd6136358b8fe94d5a2737f6b16d26492d3640c149a8e139d23',
  '3314cfe36450d66cd7e15c3fb3a401fe1ed08b620000231736633561366165382d353761362d346166302d613431652d',
  '3662353766613539643138350000000000ac71f30000904ec0db34ddeec5b25c605a95126b0c713b85edbd241ade8321',
  'eb4a81dd82524d900000000800000fa0',
].join('');

/** All 592 bytes, new at each call. */
export function luksHeaderOfQemu(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(592);
  bytes.set(Buffer.from(start, 'hex'));
  const view = new DataView(bytes.buffer);
  [512, 1016, 1520, 2024, 2528, 3032, 3536].forEach((sector, index) => {
    const at = 208 + 48 * (index + 1);
    view.setUint32(at, 0xdead);
    view.setUint32(at + 40, sector);
    view.setUint32(at + 44, 4000);
  });
  return bytes;
}
