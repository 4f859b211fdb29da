/** Every test starts without the operator's tokens, so that an accidental call to a real API cannot succeed. */
for (const name of [
  'HCLOUD_TOKEN',
  'CLOUDFLARE_API_TOKEN',
  'DIGITALOCEAN_TOKEN',
  'GITHUB_TOKEN',
  'VERCEL_TOKEN',
  'CLOUDFLARE_API_KEY',
  'CLOUDFLARE_EMAIL',
])
  delete process.env[name]
