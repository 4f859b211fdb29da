/** Requests and lists: what is sent, what is counted, what an operator reads when it fails. */

import { describe, expect, test } from 'bun:test'
import { LandfallError } from '../../../../lib/errors.ts'
import { failureOf, page, refusal, rig, TOKEN } from './rig.ts'

const locations = (from: number, count: number) =>
  Array.from({ length: count }, (_, n) => ({ id: from + n, name: `l${from + n}` }))
const input = { name: 'net', range: '10.0.0.0/16', subnet: '10.0.1.0/24', zone: 'eu-central', labels: { mine: 'yes' } }

describe('a list', () => {
  test('of up to 50 is one request', async () => {
    const on = rig(() => page('locations', locations(1, 50), { page: 1, next_page: null, last_page: 1, total_entries: 50 }))
    expect(await on.hetzner.listLocations()).toHaveLength(50)
    expect(on.sent).toEqual(['GET /locations?page=1&per_page=50'])
  })

  test('of many pages reads those after the first together', async () => {
    const on = rig(
      ({ query = [] }) => {
        const n = Number(query.find(([name]) => name === 'page')?.[1])
        return page('locations', locations(n * 100, n === 5 ? 3 : 50), {
          page: n,
          next_page: n === 5 ? null : n + 1,
          last_page: 5,
        })
      },
      { latencyMs: 80 },
    )
    expect(await on.hetzner.listLocations()).toHaveLength(203)
    expect(on.sent).toHaveLength(5)
    expect(on.clock.monotonicMs()).toBe(160)
  })

  const addresses = (there: number) => (request: { readonly query?: readonly (readonly [string, string])[] | undefined }) => {
    const n = Number(request.query?.find(([name]) => name === 'page')?.[1])
    const last = Math.max(1, Math.ceil(there / 50))
    const items = Array.from({ length: Math.max(0, Math.min(50, there - (n - 1) * 50)) }, (_, at) => ({
      id: n * 100 + at,
      name: `ip${n}-${at}`,
      type: 'ipv4',
      ip: '192.0.2.1',
      assignee_id: null,
      assignee_type: 'server',
      auto_delete: true,
      labels: {},
    }))
    return page('primary_ips', items, { page: n, next_page: n < last ? n + 1 : null, last_page: last })
  }

  test('of as many as are likely is read in one go, and of more in two', async () => {
    for (const [there, requests, tookMs] of [
      [0, 3, 80],
      [140, 3, 80],
      [150, 3, 80],
      [330, 7, 160],
    ] as const) {
      const on = rig(addresses(there), { latencyMs: 80, likelyServers: 70 })
      expect(await on.hetzner.listPrimaryIps()).toHaveLength(there)
      expect([on.sent.length, on.clock.monotonicMs()]).toEqual([requests, tookMs])
    }
  })

  test('is not guessed at while requests are scarce', async () => {
    const on = rig(addresses(0), { likelyServers: 70, requestsLeft: 60 })
    await on.hetzner.listPrimaryIps()
    expect(on.sent).toHaveLength(1)
  })

  test('of unknown length follows next_page alone', async () => {
    const on = rig(({ query = [] }) => {
      const n = Number(query.find(([name]) => name === 'page')?.[1])
      return page('locations', locations(n * 100, 50), {
        page: n,
        next_page: n === 3 ? null : n + 1,
        last_page: null,
        total_entries: null,
      })
    })
    expect(await on.hetzner.listLocations()).toHaveLength(150)
    expect(on.sent).toEqual([1, 2, 3].map(n => `GET /locations?page=${n}&per_page=50`))
  })

  test('that leads back to its own page is a failure, not a loop', async () => {
    const on = rig(() => page('locations', locations(1, 50), { page: 1, next_page: 1, last_page: null }))
    expect((await failureOf(on.hetzner.listLocations())).message).toBe("Could not list locations: Hetzner's list has no end.")
    expect(on.sent).toHaveLength(1)
  })

  test('holds an object once that moved between two pages', async () => {
    const on = rig(({ query = [] }) => {
      const first = query.some(([name, value]) => name === 'page' && value === '1')
      return page('locations', locations(first ? 1 : 50, 50), { page: first ? 1 : 2, next_page: first ? 2 : null, last_page: 2 })
    })
    expect(await on.hetzner.listLocations()).toHaveLength(99)
  })

  test('without pagination is one page', async () => {
    const on = rig(() => ({ json: { locations: locations(1, 6) } }))
    expect(await on.hetzner.listLocations()).toHaveLength(6)
  })
})

describe('what is counted and guarded', () => {
  test('every request that is sent counts, repeats too, reads and writes apart', async () => {
    const on = rig(({ method }, n) => {
      if (n === 1) return refusal(409, 'conflict')
      return method === 'GET' ? page('networks', []) : { status: 201, json: { network: { id: 1 } } }
    })
    await on.hetzner.createNetwork(input)
    await on.hetzner.listNetworks()
    expect(on.counts()).toEqual({ reads: 1, writes: 2 })
    expect(on.guarded).toEqual(['POST /networks', 'POST /networks'])
  })

  test('nothing is sent when the run may not go on', async () => {
    const on = rig(() => ({ json: {} }), {
      beforeWrite: () => Promise.reject(new LandfallError('locked', 'The lock is lost.')),
    })
    for (const work of [
      on.hetzner.createNetwork(input),
      on.hetzner.deleteServer('1'),
      on.hetzner.setServerLabels('1', {}),
      on.hetzner.setFirewallRules('1', []),
      on.hetzner.powerOn('1'),
    ])
      expect((await failureOf(work)).message).toBe('The lock is lost.')
    expect(on.sent).toEqual([])
    expect(on.counts()).toEqual({ reads: 0, writes: 0 })
  })

  test('asking whether the token may write is a read, and needs no permission', async () => {
    const on = rig(() => refusal(422, 'invalid_input'))
    await on.hetzner.probeWrite()
    expect(on.requests.map(({ method, path, body }) => ({ method, path, body }))).toEqual([
      { method: 'POST', path: '/firewalls', body: {} },
    ])
    expect(on.counts()).toEqual({ reads: 1, writes: 0 })
    expect(on.guarded).toEqual([])
  })

  for (const [status, code] of [
    [401, 'token_readonly'],
    [403, 'token_readonly'],
    [403, 'forbidden'],
  ] as const) {
    test(`a token that may only read is found out by ${status} ${code}`, async () => {
      const on = rig(() => refusal(status, code))
      const error = await failureOf(on.hetzner.probeWrite())
      expect(error.code).toBe('token_readonly')
      expect(error.message).toContain('HCLOUD_TOKEN may only read')
      expect(error.hint).toContain('Security → API tokens')
    })
  }

  test('the token is checked with one cheap read', async () => {
    const on = rig(() => ({ json: { locations: [] } }))
    await on.hetzner.verifyToken()
    expect(on.sent).toEqual(['GET /locations?per_page=1'])
  })

  test('after a 429 nobody sends for a moment, not even others', async () => {
    const on = rig((_, n) => (n === 1 ? refusal(429, 'rate_limit_exceeded') : page('networks', [])))
    const first = on.hetzner.listNetworks()
    await on.clock.sleep(100)
    await Promise.all([first, on.hetzner.listNetworks()])
    expect(on.sentAtMs).toHaveLength(3)
    expect(Math.min(...on.sentAtMs.slice(1))).toBeGreaterThanOrEqual(1_000)
    expect(on.log).toEqual(['hetzner: list networks: rate_limit_exceeded; again in 1.0 s'])
  })

  test('an outage that many requests meet is told once for as long as the first of them waits', async () => {
    let isOut = true
    const on = rig(() => (isOut ? { fails: 'unreachable' } : page('networks', [])))
    const all = Promise.all(Array.from({ length: 6 }, () => on.hetzner.listNetworks()))
    await on.clock.sleep(900)
    expect(on.sent).toHaveLength(6)
    expect(on.log).toEqual(['hetzner: list networks: unreachable; again in 1.0 s'])
    await on.clock.sleep(5_000)
    expect(on.log.length).toBeLessThan(6)
    isOut = false
    expect(await all).toHaveLength(6)
  })

  test('a project whose budget is used up by others is asked once per second', async () => {
    const left = { 'ratelimit-limit': '3600', 'ratelimit-remaining': '0' }
    const on = rig(() => ({ json: { networks: [] }, headers: left }))
    for (let n = 0; n < 4; n++) await on.hetzner.listNetworks()
    expect(on.sentAtMs).toEqual([0, 1_000, 2_000, 3_000])
  })

  test('an interrupt stops the repeats, but not a write that is on its way', async () => {
    const on = rig(() => ({ status: 201, json: { network: { id: 1, name: 'net' } } }), { latencyMs: 1_000 })
    const creating = on.hetzner.createNetwork(input)
    await on.clock.sleep(100)
    on.interrupt()
    expect((await creating).id).toBe('1')
    expect(on.requests[0]?.signal).toBeUndefined()

    const failing = rig(() => ({ fails: 'unreachable' }))
    const work = failureOf(failing.hetzner.listNetworks())
    await failing.clock.sleep(100)
    failing.interrupt()
    expect((await work).code).toBe('cancelled')
  })
})

describe('what an operator reads', () => {
  const told = async (status: number, code: string, details?: unknown) =>
    failureOf(rig(() => refusal(status, code, details)).hetzner.createNetwork(input))

  test('a bad token: where to make a new one', async () => {
    const error = await told(401, 'unauthorized')
    expect(error.code).toBe('token_invalid')
    expect(error.message).toBe('Could not create network net: Hetzner does not accept the token HCLOUD_TOKEN.')
    expect(error.hint).toBe(
      'Make one: Hetzner Console → project → Security → API tokens → Generate API token, permission "Read & Write", and set HCLOUD_TOKEN to it.',
    )
    expect({ status: error.status, vendorCode: error.vendorCode, correlationId: error.correlationId }).toEqual({
      status: 401,
      vendorCode: 'unauthorized',
      correlationId: 'c0ffee',
    })
  })

  test('a limit is named', async () => {
    const error = await told(403, 'resource_limit_exceeded', { limits: [{ name: 'network_limit' }] })
    expect(error.code).toBe('limit')
    expect(error.message).toContain("exceed the account's limit for network_limit")
  })

  test('refused fields stand one per line', async () => {
    const fields = [
      { name: 'ip_range', messages: ['is not private', 'is too small'] },
      { name: 'name', messages: ['is too long'] },
    ]
    expect((await told(422, 'invalid_input', { fields })).message).toBe(
      'Could not create network net: Hetzner refuses the request ("about invalid_input")\n  ip_range: is not private; is too small\n  name: is too long.',
    )
  })

  for (const [status, code, ours] of [
    [403, 'forbidden', 'forbidden'],
    [401, 'token_readonly', 'token_readonly'],
    [412, 'resource_unavailable', 'out_of_stock'],
    [422, 'placement_error', 'out_of_stock'],
    [423, 'protected', 'refused'],
    [404, 'not_found', 'not_found'],
    [403, 'maintenance', 'vendor'],
    [410, 'deprecated_api_endpoint', 'vendor'],
  ] as const)
    test(`${code} is ${ours}, with a hint`, async () => {
      const error = await told(status, code)
      expect(error.code).toBe(ours)
      expect(error.hint).toBeString()
    })

  test('what stays locked is given up after two minutes, and says what to look at', async () => {
    const on = rig(() => refusal(423, 'locked'))
    const error = await failureOf(on.hetzner.deleteServer('1'))
    expect(error.message).toBe('Could not delete server 1: another action is still working on it.')
    expect(on.clock.monotonicMs()).toBeGreaterThan(110_000)
    expect(on.clock.monotonicMs()).toBeLessThan(130_000)
  })

  test('an HTML error page is told by its status, and not quoted', async () => {
    const on = rig(() => ({ text: '<html><script>alert(1)</script></html>', status: 502 }))
    const error = await failureOf(on.hetzner.listNetworks())
    expect(error.code).toBe('network')
    expect(error.message).toBe('Could not list networks: Hetzner answered HTTP 502.')
  })

  test('a list without its items is no empty list', async () => {
    const on = rig(() => ({ json: { meta: {} } }))
    const error = await failureOf(on.hetzner.listNetworks())
    expect(error.code).toBe('network')
    expect(error.message).toContain('its answer holds no networks')
  })

  test('a write without an answer is ambiguous, and says that running again is safe', async () => {
    const error = await failureOf(rig(() => ({ fails: 'no_answer' })).hetzner.setServerLabels('1', {}))
    expect(error.code).toBe('ambiguous')
    expect(error.hint).toContain('it looks first')
  })

  test('neither the token nor control characters reach a message', async () => {
    const message = `\u001b[31mlimit for ${TOKEN}\u0007 \u202ereached`
    const on = rig(() => ({ status: 422, json: { error: { code: 'service_error', message } } }))
    const error = await failureOf(on.hetzner.createNetwork(input))
    expect(error.message).toBe(
      'Could not create network net: Hetzner answered HTTP 422 service_error: [31mlimit for <HCLOUD_TOKEN>   reached.',
    )
  })

  test('the text of a rate limit, which holds a part of the token, is not quoted', async () => {
    const message = `Limit of '3600' requests per hour for token ${TOKEN.slice(0, 8)}`
    const on = rig(() => ({ status: 429, json: { error: { code: 'rate_limit_exceeded', message } } }))
    const error = await failureOf(on.hetzner.listNetworks())
    expect(error.code).toBe('rate_limited')
    expect(error.message).not.toContain(TOKEN.slice(0, 8))
    expect(on.sent.length).toBeGreaterThan(6)
  })
})
