// One picture through sharp, as often as asked: the quicker of a chain from one decode and of three decodes.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';
const [, , home, file, rounds, folder, how] = process.argv;
const sharp = createRequire(home + '/')('sharp');
if (file === undefined) {
  console.log(sharp.versions.sharp);
  process.exit(0);
}
sharp.concurrency(1);
sharp.cache(false);
const input = readFileSync(file);
const { hasAlpha } = await sharp(input).metadata();
const encode = (image) => (hasAlpha ? image.png() : image.jpeg({ quality: 80 })).toBuffer();
const chained = async () => {
  const { data, info } = await sharp(input).rotate()
    .resize({ width: 1600, withoutEnlargement: true }).raw().toBuffer({ resolveWithObject: true });
  const from = () => sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
  return [await encode(from()), await encode(from().resize({ width: 500, withoutEnlargement: true })),
    await encode(from().resize(320, 320, { fit: 'cover' }))];
};
const separate = async () => [
  await encode(sharp(input).rotate().resize({ width: 1600, withoutEnlargement: true })),
  await encode(sharp(input).rotate().resize({ width: 500, withoutEnlargement: true })),
  await encode(sharp(input).rotate().resize(320, 320, { fit: 'cover' })),
];
const run = how === 'chained' ? chained : separate;
await run();
const before = process.cpuUsage();
let made;
for (let round = 0; round < Number(rounds); round++) made = await run();
const { user, system } = process.cpuUsage(before);
writeFileSync(`${folder}/large`, made[0]);
writeFileSync(`${folder}/medium`, made[1]);
console.log((user + system) / 1e6 / Number(rounds), process.resourceUsage().maxRSS * 1024);
