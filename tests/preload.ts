/**
 * Every test starts without the operator's tokens, so that an accidental call to a real API cannot succeed, and has time on a busy
 * machine: how long a thing may take is asserted where it matters, never by the runner's default.
 */

import { setDefaultTimeout } from 'bun:test'

setDefaultTimeout(60_000)

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
