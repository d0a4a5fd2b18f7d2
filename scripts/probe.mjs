// Asks a health path and ends with 0 if it answers 2xx: the images have neither curl nor wget.
const [url] = process.argv.slice(2);
try {
  const { ok } = await fetch(url, { signal: AbortSignal.timeout(4_000) });
  process.exit(ok ? 0 : 1);
} catch {
  process.exit(1);
}
