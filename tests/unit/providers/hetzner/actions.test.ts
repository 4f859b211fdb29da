/** The shared poller, against a vendor whose actions take exactly as long as they are told. */

import { describe, expect, test } from 'bun:test'
import type { CreateServer } from '../../../../lib/providers/ports/cloud.ts'
import { failureOf, type Reply, type Rig, refusal, rig } from './rig.ts'

interface Durations {
  readonly createMs: number
  readonly startMs: number
}

interface Quirks {
  readonly latencyMs?: number
  /** The vendor writes times in whole seconds. */
  readonly wholeSeconds?: boolean
  /** The next actions claim to have started with the first. */
  readonly earlyStarts?: boolean
  /** At most so many actions in one answer. */
  readonly actionsPerAnswer?: number
  readonly fail?: { readonly command: string; readonly code: string }
  readonly forget?: boolean
}

interface Planned {
  readonly id: number
  readonly command: string
  readonly startMs: number
  readonly endMs: number
}

/** A vendor with servers only; `ends` holds the real end of every server's last action. */
function vendor(durations: Durations | ((n: number) => Durations), quirks: Quirks = {}) {
  const planned = new Map<number, Planned>()
  const ends = new Map<string, number>()
  let servers = 0
  const wire = (action: Planned) => {
    const nowMs = on.clock.monotonicMs()
    const over = nowMs >= action.endMs
    const failed = over && quirks.fail?.command === action.command
    const iso = (ms: number) =>
      new Date(Date.UTC(2026, 0, 1) + (quirks.wholeSeconds ? Math.floor(ms / 1000) * 1000 : ms)).toISOString()
    return {
      id: action.id,
      command: action.command,
      status: failed ? 'error' : over ? 'success' : 'running',
      started: iso(action.startMs),
      finished: over ? iso(action.endMs) : null,
      error: failed ? { code: quirks.fail?.code, message: 'it went wrong' } : null,
    }
  }
  const plan = (command: string, startMs: number, tookMs: number, shownStartMs = startMs): Planned => {
    const action = { id: 900 + planned.size, command, startMs: shownStartMs, endMs: startMs + tookMs }
    planned.set(action.id, action)
    return action
  }
  const server = (id: string) => ({
    id: Number(id),
    name: `s${id}`,
    status: on.clock.monotonicMs() >= (ends.get(id) ?? 0) ? 'running' : 'initializing',
    public_net: { ipv4: { ip: '192.0.2.1' }, ipv6: { ip: '2001:db8::/64' } },
    labels: { run: 'r1' },
  })
  const on: Rig = rig(
    ({ method, path, query = [] }): Reply => {
      const nowMs = on.clock.monotonicMs()
      if (method === 'POST') {
        servers += 1
        const { createMs, startMs } = typeof durations === 'function' ? durations(servers) : durations
        const create = plan('create_server', nowMs, createMs)
        const start = plan('start_server', create.endMs, startMs, quirks.earlyStarts ? nowMs : create.endMs)
        ends.set(String(servers), start.endMs)
        return { status: 201, json: { server: server(String(servers)), action: wire(create), next_actions: [wire(start)] } }
      }
      if (path === '/servers') {
        const off = [...ends.keys()].map(server).filter(each => each.status === 'off')
        return {
          json: {
            servers: off,
            meta: {
              pagination: {
                page: 1,
                per_page: 50,
                previous_page: null,
                next_page: null,
                last_page: 1,
                total_entries: off.length,
              },
            },
          },
        }
      }
      if (path === '/actions') {
        const asked = query
          .flatMap(([name, id]) => (name === 'id' ? (planned.get(Number(id)) ?? []) : []))
          .filter(() => !quirks.forget)
        return { json: { actions: asked.slice(0, quirks.actionsPerAnswer ?? asked.length).map(wire) } }
      }
      return { json: { server: server(path.split('/')[2] ?? '') } }
    },
    { latencyMs: quirks.latencyMs ?? 80 },
  )
  const polls = () => on.sent.filter(line => line.startsWith('GET /actions')).length
  /** Creates a server and waits for it; answers with how long after its real end that was noticed. */
  const make = async (name: string): Promise<number> => {
    const { id } = await on.hetzner.createServer(input(name))
    await on.hetzner.waitServerRunning(id, new AbortController().signal)
    // The last read of the server itself is one more round trip.
    return on.clock.monotonicMs() - (quirks.latencyMs ?? 80) - (ends.get(id) ?? 0)
  }
  return { on, polls, make }
}

const input = (name: string): CreateServer => ({
  name,
  type: 'cx23',
  location: 'fsn1',
  image: 'debian-13',
  sshKeyIds: [],
  firewallIds: [],
  networkIds: [],
  labels: { run: 'r1' },
  ipv4: 'new',
  ipv6: 'new',
})

const USUAL = { createMs: 5_000, startMs: 1_000 }
const never = new AbortController().signal
/** What a page holds that was asked for without a size (facts/cloud-apis 1.2); more ids than that would be asked for twice. */
const PAGE = 25

describe('waiting for actions', () => {
  test('two servers need at most two polls, and their end is noticed within 150 ms', async () => {
    const { make, polls } = vendor(USUAL)
    const late = await Promise.all([make('one'), make('two')])
    expect(polls()).toBeLessThanOrEqual(2)
    expect(Math.max(...late)).toBeLessThanOrEqual(150)
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0)
  })

  test('a create and its start, for one server, need exactly one poll', async () => {
    const { make, polls } = vendor(USUAL)
    await make('one')
    expect(polls()).toBe(1)
  })

  test('500 servers need no more than four rounds of full batches', async () => {
    const { on, make, polls } = vendor(USUAL)
    const late = await Promise.all(
      Array.from({ length: 500 }, async (_, n) => {
        await on.clock.sleep(n * 8)
        return make(`s${n}`)
      }),
    )
    expect(polls()).toBeLessThanOrEqual(4 * Math.ceil((2 * 500) / PAGE))
    expect(Math.max(...late)).toBeLessThanOrEqual(1_000)
  })

  test('500 servers that take twice as long need no more either', async () => {
    const { make, polls } = vendor({ createMs: 11_000, startMs: 2_000 })
    await Promise.all(Array.from({ length: 500 }, (_, n) => make(`s${n}`)))
    expect(polls()).toBeLessThanOrEqual(4 * Math.ceil((2 * 500) / PAGE))
  })

  for (const quirks of [{}, { earlyStarts: true }]) {
    test(`a faster vendor is asked sooner from the second server on${quirks.earlyStarts ? ', also when its actions claim to start early' : ''}`, async () => {
      const { make } = vendor({ createMs: 2_000, startMs: 300 }, quirks)
      const first = await make('one')
      const second = await make('two')
      expect(first).toBeGreaterThan(3_000)
      expect(second).toBeLessThanOrEqual(150)
    })
  }

  test('a slower vendor is asked once for the second server', async () => {
    const { make, polls } = vendor({ createMs: 9_000, startMs: 2_000 })
    await make('one')
    const before = polls()
    const late = await make('two')
    expect(polls() - before).toBe(1)
    expect(late).toBeLessThanOrEqual(150)
  })

  test('one slow server does not delay the notice of those after it by more than its own time', async () => {
    const { make } = vendor(n => (n === 2 ? { createMs: 60_000, startMs: 1_000 } : USUAL))
    await make('one')
    await make('slow')
    expect(await make('three')).toBeLessThanOrEqual(6_500)
  })

  test('times in whole seconds cost a poll or two, never seconds', async () => {
    const { make, polls } = vendor({ createMs: 5_400, startMs: 700 }, { wholeSeconds: true })
    for (const name of ['one', 'two', 'three', 'four']) expect(await make(name)).toBeLessThanOrEqual(1_200)
    expect(polls()).toBeLessThanOrEqual(16)
  })

  test('ids are asked for in ascending order, a page of them at most at a time', async () => {
    const { on, make } = vendor(USUAL)
    await Promise.all(Array.from({ length: 60 }, (_, n) => make(`s${n}`)))
    const asked = on.requests
      .filter(request => request.path === '/actions')
      .map(({ query = [] }) => query.flatMap(([name, id]) => (name === 'id' ? [Number(id)] : [])))
    expect(Math.max(...asked.map(ids => ids.length))).toBe(PAGE)
    for (const ids of asked) expect(ids).toEqual([...ids].sort((one, other) => one - other))
  })

  test('a vendor that answers with fewer actions than asked is asked for the rest', async () => {
    const { make } = vendor(USUAL, { actionsPerAnswer: 25 })
    const late = await Promise.all(Array.from({ length: 25 }, (_, n) => make(`s${n}`)))
    expect(late).toHaveLength(25)
  })

  test('an action that vanishes is a failure that names it', async () => {
    const { make } = vendor(USUAL, { forget: true })
    const error = await failureOf(make('one'))
    expect(error.code).toBe('vendor')
    expect(error.message).toBe(
      "Could not start server 1: Hetzner's action create_server (900) failed: Hetzner no longer knows it.",
    )
  })

  test('an action without room says that there is no room, and what to do', async () => {
    const { make } = vendor(USUAL, { fail: { command: 'create_server', code: 'resource_unavailable' } })
    const error = await failureOf(make('one'))
    expect(error.code).toBe('out_of_stock')
    expect(error.message).toContain('no room for it')
    expect(error.hint).toContain('another server type or location')
  })

  test('an action that never ends is given up after 15 minutes, naming it', async () => {
    const { on, make } = vendor({ createMs: 3_600_000, startMs: 1 })
    const error = await failureOf(make('one'))
    expect(error.code).toBe('timeout')
    expect(error.message).toBe(
      'Could not start server 1: after 15 min Hetzner still works on create_server (900), start_server (901).',
    )
    expect(on.clock.monotonicMs()).toBeLessThan(15.1 * 60_000)
  })

  test('an interrupt ends the wait at once, and no request follows', async () => {
    const { on } = vendor(USUAL)
    const { id } = await on.hetzner.createServer(input('one'))
    const waiting = failureOf(on.hetzner.waitServerRunning(id, never))
    await on.clock.sleep(1_000)
    on.interrupt()
    expect((await waiting).code).toBe('cancelled')
    await on.clock.sleep(20_000)
    expect(on.sent).toEqual(['POST /servers'])
  })

  test('a wait can be given up alone', async () => {
    const { on, make } = vendor(USUAL)
    const { id } = await on.hetzner.createServer(input('one'))
    const other = make('two')
    const stop = new AbortController()
    const waiting = failureOf(on.hetzner.waitServerRunning(id, stop.signal))
    await on.clock.sleep(1_000)
    stop.abort()
    expect((await waiting).code).toBe('cancelled')
    expect(await other).toBeLessThanOrEqual(150)
  })

  test('time counts from the answer to the create, not from the wait', async () => {
    const { on } = vendor(USUAL)
    const { id } = await on.hetzner.createServer(input('one'))
    await on.clock.sleep(10_000)
    const before = on.clock.monotonicMs()
    await on.hetzner.waitServerRunning(id, never)
    expect(on.clock.monotonicMs() - before).toBeLessThanOrEqual(160)
  })

  test('a machine that slept past the deadline asks before it gives up', async () => {
    const { on } = vendor(USUAL)
    const { id } = await on.hetzner.createServer(input('one'))
    await on.clock.sleep(8 * 3_600_000)
    expect((await on.hetzner.waitServerRunning(id, never)).status).toBe('running')
  })
})

describe('waiting for a server that this process did not make', () => {
  const waitFor = (
    states: readonly string[],
    poweron: Reply = { status: 201, json: { action: { id: 5, command: 'start_server', status: 'success' } } },
  ) => {
    let reads = 0
    const on = rig(({ method }) => {
      if (method === 'POST') return poweron
      const status = states[Math.min(reads++, states.length - 1)]
      return { json: { server: { id: 1, name: 'web', status } } }
    })
    return { on, waiting: on.hetzner.waitServerRunning('1', never) }
  }

  test('it is read until it runs', async () => {
    const { on, waiting } = waitFor(['initializing', 'starting', 'running'])
    expect((await waiting).status).toBe('running')
    expect(on.sent).toEqual(['GET /servers/1', 'GET /servers/1', 'GET /servers/1'])
  })

  test('one that ends up off is powered on, once', async () => {
    const { on, waiting } = waitFor(['starting', 'off', 'off', 'off', 'running'])
    expect((await waiting).status).toBe('running')
    expect(on.sent.filter(line => line.startsWith('POST'))).toEqual(['POST /servers/1/actions/poweron'])
  })

  test('one that stays off is a timeout that says so', async () => {
    const error = await failureOf(waitFor(['off']).waiting)
    expect(error.code).toBe('timeout')
    expect(error.message).toBe('Could not start server 1: server web is "off" after 15 min.')
  })

  test('one that is being deleted is not waited for', async () => {
    expect((await failureOf(waitFor(['deleting']).waiting)).code).toBe('unhealthy')
  })

  test('one that is gone is not found', async () => {
    const on = rig(() => refusal(404, 'not_found'))
    expect((await failureOf(on.hetzner.waitServerRunning('1', never))).code).toBe('not_found')
  })
})
