/** The way back while the cloud is down: it goes on without the lock, and ends when the records are back. */

import { afterAll, expect, test } from 'bun:test'
import { join } from 'node:path'
import { openMoveStore } from '../../../lib/cutover/store.ts'
import { move, record } from '../../unit/cutover/moves.ts'
import { closePlaces, openPlace } from './run.ts'

afterAll(closePlaces)

const WWW = 'www.example.com'
const LOCATED = {
  hetzner: { hetzner: { location: 'nbg1', image: 'debian-12' }, servers: { web: { type: 'cx23' } } },
  digitalocean: {
    digitalocean: { region: 'fra1', size: 's-1vcpu-2gb', image: 'debian-12-x64' },
    servers: { web: {} },
    firewalls: { web: [{ port: 22, from: ['anywhere'], why: 'SSH, by key only' }] },
  },
}

test.each(['hetzner', 'digitalocean'] as const)(
  'at %s',
  async cloud => {
    const place = await openPlace({ project: 'shop', ...LOCATED[cloud], dns: { domain: 'example.com' } })
    const { cloudflare } = place.sandbox.controls
    const comment = 'landfall estate=shop server=web id=42'
    cloudflare.addRecord('example.com', { type: 'A', name: WWW, content: '203.0.113.7', ttl: 300, comment })
    const here = cloudflare.records('example.com').find(({ name }) => name === WWW)
    const old = record(WWW, 'A', '192.0.2.1', { id: here?.id ?? '', ttl: 3600 })
    const store = openMoveStore(join(place.cwd, '.landfall', 'shop'))
    await store.writeMove(move(WWW, [old], { zoneId: here?.zoneId ?? '', marks: { switchedAtMs: 1 } }))
    const nowhere = 'http://127.0.0.1:9'
    const back = await place.run('dns rollback --yes --json', {
      env: { HCLOUD_ENDPOINT: `${nowhere}/v1`, DIGITALOCEAN_ENDPOINT: nowhere },
    })
    expect(`${back.code} ${back.code === 0 ? '' : back.output}`).toBe('0 ')
    expect(back.stdout).toContain('The cloud gives no lock, so this goes on without')
    const records = cloudflare.records('example.com').filter(({ name }) => name === WWW)
    expect(records.map(({ type, content, ttl }) => `${type} ${content} ${ttl}`)).toEqual(['A 192.0.2.1 3600'])
    expect(back.elapsedMs).toBeLessThan(10_000)
  },
  60_000,
)
