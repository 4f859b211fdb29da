/** An estate at DigitalOcean through its whole life, by the same scripts as everywhere: set up, changed, scaled, destroyed. */

import { afterAll, describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SANDBOX_TOKENS } from '../../../lib/sandbox/sandbox.ts'
import { closePlaces, FAST, openPlace, type Place, ROOT } from './run.ts'

afterAll(closePlaces)

const estate = (
  more: { readonly count?: number; readonly size?: string | string[]; readonly ports?: readonly number[] } = {},
) => ({
  project: 'solo',
  digitalocean: { region: 'fra1', size: more.size ?? 's-1vcpu-2gb' },
  servers: { backend: { count: more.count ?? 2 } },
  firewalls: {
    web: [
      { port: 22, from: ['anywhere'], why: 'SSH, by key only' },
      ...(more.ports ?? [443]).map(port => ({ port, from: ['anywhere'], why: `port ${port}` })),
      { protocol: 'icmp', from: ['anywhere'] },
    ],
  },
})

const writesOf = (requests: Place['history'][number]['requests']) => requests.filter(request => request.method !== 'GET')
const dump = (place: Place) => place.sandbox.controls.digitalocean.dump()

describe('an estate at DigitalOcean', () => {
  test('is set up behind its firewall, changed, scaled up and down, and destroyed without a trace; each second run writes nothing', async () => {
    // Ten lists of keys a minute are few for a test that lives a whole life in seconds; the limit itself is tested with the adapter.
    const place = await openPlace(estate(), { settings: { ...FAST, rateLimits: false } })
    const settled = async (command: string) => {
      const again = await place.run(command)
      expect({ command, code: again.code, writes: writesOf(again.requests) }).toEqual({ command, code: 0, writes: [] })
    }

    const first = await place.run('setup --yes --json')
    expect({ code: first.code, errors: first.errors() }).toEqual({ code: 0, errors: [] })
    expect(dump(place).droplets.map(({ name, status, size }) => ({ name, status, size }))).toEqual([
      { name: 'backend', status: 'active', size: 's-1vcpu-2gb' },
      { name: 'backend-2', status: 'active', size: 's-1vcpu-2gb' },
    ])
    expect(first.output).not.toContain(SANDBOX_TOKENS.digitalocean)
    // No droplet was ever without its firewall, and nothing is kept from leaving.
    for (const { servers } of place.sandbox.instants()) for (const server of servers) expect(server.ipv4).not.toContain(3000)
    const [web] = dump(place).firewalls
    expect(web?.outbound.map(rule => `${rule.protocol} ${rule.ports} ${rule.addresses.join()}`)).toEqual([
      'tcp 0 0.0.0.0/0,::/0',
      'udp 0 0.0.0.0/0,::/0',
      'icmp 0 0.0.0.0/0,::/0',
    ])
    await settled('setup --yes --json')

    place.writeConfig(estate({ ports: [443, 4444] }))
    const changed = await place.run('firewall --yes --json')
    expect({ code: changed.code, applied: changed.summary().applied }).toEqual({ code: 0, applied: 1 })
    expect(dump(place).firewalls[0]?.inbound.map(rule => rule.ports)).toEqual(['22', '443', '4444', '0'])
    await settled('firewall --yes --json')

    // Another size is shown, and is nobody's reason to replace a server.
    place.writeConfig(estate({ ports: [443, 4444], size: ['s-2vcpu-4gb', 's-4vcpu-8gb'] }))
    const resized = await place.run('provision plan --json')
    expect(resized.code).toBe(0)
    expect(JSON.stringify(resized.lines())).toContain('config.json wants s-2vcpu-4gb or s-4vcpu-8gb')

    place.writeConfig(estate({ ports: [443, 4444], count: 3 }))
    const up = await place.run('provision --yes --json')
    expect({ code: up.code, errors: up.errors() }).toEqual({ code: 0, errors: [] })
    expect(dump(place).droplets.map(each => each.name)).toEqual(['backend', 'backend-2', 'backend-3'])
    await settled('provision --yes --json')

    place.writeConfig(estate({ ports: [443, 4444], count: 2 }))
    const unnamed = await place.run('provision --yes --json')
    expect({ code: unnamed.code, left: dump(place).droplets.length }).toEqual({ code: 3, left: 3 })
    const down = await place.run('provision --yes --confirm solo --json')
    expect({ code: down.code, left: dump(place).droplets.map(each => each.name) }).toEqual({
      code: 0,
      left: ['backend', 'backend-2'],
    })
    await settled('provision --yes --confirm solo --json')

    const gone = await place.run('destroy --yes --confirm solo --json')
    expect({ code: gone.code, errors: gone.errors() }).toEqual({ code: 0, errors: [] })
    expect(dump(place)).toEqual({ droplets: [], firewalls: [], keys: [], vpcs: [], tags: [] })
    await settled('destroy --yes --confirm solo --json')
  }, 90_000)

  test('of the examples is planned with its price, and planning writes nothing', async () => {
    const place = await openPlace(readFileSync(join(ROOT, 'examples/digitalocean.json'), 'utf8'))
    const ended = await place.run('setup --plan')
    expect(ended.code).toBe(2)
    expect(ended.stdout).toContain('create server backend-2 (s-1vcpu-2gb, fra1)')
    expect(ended.stdout).toContain('24.00')
    expect(writesOf(ended.requests)).toEqual([])
  })

  test('without a token says which variable to set and where to get one', async () => {
    const place = await openPlace(estate({ count: 1 }))
    const ended = await place.run('provision --yes --json', { env: { DIGITALOCEAN_TOKEN: undefined } })
    expect(ended.code).toBe(1)
    expect(JSON.stringify(ended.errors())).toContain('DIGITALOCEAN_TOKEN is not set.')
  })

  test('with a read-only token is refused before anything is made', async () => {
    const place = await openPlace(estate({ count: 1 }))
    const ended = await place.run('provision --yes --json', { env: { DIGITALOCEAN_TOKEN: SANDBOX_TOKENS.digitaloceanReadOnly } })
    expect(ended.code).toBe(1)
    expect(JSON.stringify(ended.errors())).toContain('DIGITALOCEAN_TOKEN may only read')
    expect(dump(place)).toEqual({ droplets: [], firewalls: [], keys: [], vpcs: [], tags: [] })
  })

  test('a run that was killed after its create was sent makes no second droplet', async () => {
    const place = await openPlace(estate({ count: 1 }))
    place.sandbox.settings.faults = [
      { vendor: 'digitalocean', method: 'POST', path: '^/droplets$', nth: [1], effect: { kind: 'lost_answer' } },
    ]
    const ended = await place.run('provision --yes --json')
    expect({ code: ended.code, errors: ended.errors() }).toEqual({ code: 0, errors: [] })
    expect(dump(place).droplets.map(each => each.name)).toEqual(['backend'])
  }, 60_000)
})
