import { afterEach, describe, expect, test } from 'bun:test'
import { createFaultSource, drawFault } from '../../../lib/sandbox/faults.ts'
import { createRequestLog, type Front, type FrontOptions, serveStandIn } from '../../../lib/sandbox/front.ts'
import type { FaultRule, Vendor } from '../../../lib/sandbox/kit.ts'
import { openStore } from '../../../lib/sandbox/store.ts'
import { createCounter, settingsWith } from './helpers.ts'

const fronts: Front[] = []
afterEach(async () => {
  for (const front of fronts.splice(0)) await front.close()
})

const serve = async (options: Partial<FrontOptions> = {}) => {
  const counter = createCounter()
  const log = createRequestLog(openStore(':memory:'), () => ({}))
  const front = await serveStandIn(counter, {
    base: '/v1',
    clock: { nowMs: () => 1_700_000_000_000 },
    settings: () => settingsWith(),
    log,
    ...options,
  })
  fronts.push(front)
  return { front, counter, log }
}

const withFaults = (...faults: FaultRule[]) => ({ settings: () => settingsWith({ faults }) })

/** A POST on a connection of its own: what comes back, or 'no answer'. */
const post = async (url: string, patienceMs = 1000): Promise<{ status: number; body: string } | 'no answer' | 'silence'> => {
  try {
    const response = await fetch(url, {
      method: 'POST',
      body: '{"a":1}',
      keepalive: false,
      signal: AbortSignal.timeout(patienceMs),
    })
    return { status: response.status, body: await response.text() }
  } catch (error) {
    return error instanceof Error && error.name === 'TimeoutError' ? 'silence' : 'no answer'
  }
}

describe('a front', () => {
  test('hands over path, query and body below its base, and answers 404 beside it', async () => {
    const { front, counter, log } = await serve()
    expect(await post(`${front.url}/things?page=2`)).toMatchObject({ status: 200 })
    expect(counter.effects).toEqual(['POST /things {"a":1}'])
    expect(log.all()).toMatchObject([
      { n: 1, vendor: 'hetzner', method: 'POST', path: '/things', query: 'page=2', body: '{"a":1}', status: 200 },
    ])
    expect(log.all()[0]?.responseBody).toContain('"effects":1')
    expect(await post(front.url.replace('/v1', '/v2/things'))).toMatchObject({ status: 404 })
    expect(counter.effects).toHaveLength(1)
  })

  test("sends the sandbox's time as Date, and no header that gives the sandbox away", async () => {
    const { front } = await serve()
    const response = await fetch(`${front.url}/things`)
    expect(response.headers.get('date')).toBe('Tue, 14 Nov 2023 22:13:20 GMT')
    expect(response.headers.get('x-vendor')).toBe('yes')
    expect([...response.headers.keys()].sort()).toEqual(
      expect.arrayContaining(['content-length', 'content-type', 'date', 'x-vendor']),
    )
    expect([...response.headers.keys()].filter(name => name.includes('sandbox') || name.includes('powered'))).toEqual([])
  })

  test('refuses a body of more than 10 MB without an effect', async () => {
    const { front, counter } = await serve()
    const response = await fetch(`${front.url}/things`, { method: 'POST', body: 'x'.repeat(10 * 1_048_576 + 1) })
    expect(response.status).toBe(413)
    expect(counter.effects).toEqual([])
  })

  test('a status fault answers instead of the vendor, without an effect unless it says "after"', async () => {
    const { front, counter, log } = await serve(
      withFaults(
        {
          path: '^/before',
          effect: { kind: 'status', status: 502, text: '<html>Bad Gateway</html>', headers: { 'content-type': 'text/html' } },
        },
        { path: '^/after', effect: { kind: 'status', status: 504, json: { error: 'late' }, after: true } },
      ),
    )
    expect(await post(`${front.url}/before`)).toEqual({ status: 502, body: '<html>Bad Gateway</html>' })
    expect(counter.effects).toEqual([])
    expect(await post(`${front.url}/after`)).toEqual({ status: 504, body: '{"error":"late"}' })
    expect(counter.effects).toEqual(['POST /after {"a":1}'])
    expect(log.all().map(one => [one.status, one.fault])).toEqual([
      [502, 'status'],
      [504, 'status'],
    ])
  })

  test('reset_before has no effect, lost_answer has one, and neither client gets an answer', async () => {
    const { front, counter, log } = await serve(
      withFaults({ path: '^/a', effect: { kind: 'reset_before' } }, { path: '^/b', effect: { kind: 'lost_answer' } }),
    )
    expect(await post(`${front.url}/a`)).toBe('no answer')
    expect(counter.effects).toEqual([])
    expect(await post(`${front.url}/b`)).toBe('no answer')
    expect(counter.effects).toEqual(['POST /b {"a":1}'])
    expect(log.all().map(one => one.status)).toEqual([0, 0])
  })

  test('hang takes effect and stays silent; close ends it', async () => {
    const { front, counter } = await serve(withFaults({ effect: { kind: 'hang' } }))
    expect(await post(`${front.url}/a`, 80)).toBe('silence')
    const waiting = post(`${front.url}/b`, 5000)
    while (counter.effects.length < 2) await Bun.sleep(1)
    await front.close()
    expect(await waiting).toBe('no answer')
  })

  test('truncate sends a good head and half a body', async () => {
    const { front, counter } = await serve(withFaults({ effect: { kind: 'truncate' } }))
    const response = await fetch(`${front.url}/a`, { keepalive: false })
    expect(response.status).toBe(200)
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(200)
    const body = await response.text().catch(() => 'broken off')
    expect(body).toBe('broken off')
    expect(counter.effects).toHaveLength(1)
  })

  test('slow and latency delay the answer; half the latency comes before the effect', async () => {
    const order: [string, number][] = []
    const began = performance.now()
    const mark = (what: string) => () => {
      order.push([what, performance.now() - began])
    }
    const { front } = await serve({
      settings: () => settingsWith({ latencyMs: 40, faults: [{ effect: { kind: 'slow', ms: 30 } }] }),
      hooks: { beforeEffect: mark('before'), afterEffect: mark('after'), afterAnswer: mark('answered') },
    })
    await (await fetch(`${front.url}/a`)).text()
    const total = performance.now() - began
    while (order.length < 3) await Bun.sleep(1)
    expect(order.map(([what]) => what)).toEqual(['before', 'after', 'answered'])
    expect(order[0]?.[1]).toBeGreaterThanOrEqual(18)
    expect(total).toBeGreaterThanOrEqual(68)
  })

  test('a rule hits the nth request that it matches, and nothing else', async () => {
    const { front } = await serve(
      withFaults({ vendor: 'hetzner', method: 'post', path: '^/a$', nth: [2], effect: { kind: 'status', status: 503 } }),
    )
    const statuses: unknown[] = []
    for (const path of ['/a', '/b', '/a', '/a']) {
      const answer = await post(front.url + path)
      statuses.push(typeof answer === 'string' ? answer : answer.status)
    }
    expect(statuses).toEqual([200, 200, 503, 200])
  })

  test('hooks are awaited at their points, so that a kill lands exactly there', async () => {
    const seen: string[] = []
    let release: () => void = () => undefined
    const gate = new Promise<void>(resolve => {
      release = resolve
    })
    const { front, counter } = await serve({
      hooks: {
        async beforeEffect({ n, path }) {
          seen.push(`before ${n} ${path} with ${counter.effects.length}`)
          await gate
        },
        afterEffect({ n }) {
          seen.push(`after ${n} with ${counter.effects.length}`)
        },
      },
    })
    const answer = post(`${front.url}/a`)
    while (seen.length === 0) await Bun.sleep(1)
    await Bun.sleep(10)
    expect(seen).toEqual(['before 1 /a with 0'])
    release()
    expect(await answer).toMatchObject({ status: 200 })
    expect(seen).toEqual(['before 1 /a with 0', 'after 1 with 1'])
  })

  test('a failing stand-in is a 500 that says whose bug it is, and is reported', async () => {
    const bugs: unknown[] = []
    const front = await serveStandIn(
      {
        vendor: 'cloudflare',
        handle() {
          throw new Error('broken rule')
        },
      },
      { base: '', clock: { nowMs: () => 0 }, settings: () => settingsWith(), onBug: error => bugs.push(error) },
    )
    fronts.push(front)
    const answer = await post(`${front.url}/a`)
    expect(answer).toMatchObject({ status: 500, body: expect.stringContaining('bug in the sandbox') })
    expect(bugs).toEqual([new Error('broken rule')])
  })

  test('flushes before it answers', async () => {
    let flushed = 0
    const { front } = await serve({
      flush: () => {
        flushed += 1
      },
    })
    await post(`${front.url}/a`)
    expect(flushed).toBe(1)
  })

  test('answers 200 requests at once, each once', async () => {
    const { front, counter, log } = await serve()
    const bodies = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => (await fetch(`${front.url}/things/${i}`)).text()),
    )
    expect(bodies).toHaveLength(200)
    expect(new Set(counter.effects).size).toBe(200)
    expect(log.all().map(one => one.n)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1))
  })
})

describe('a seed', () => {
  const schedule = (seed: number, vendor: Vendor = 'hetzner', method = 'POST') =>
    Array.from({ length: 300 }, (_, i) => drawFault({ seed, probability: 0.3 }, { vendor, method, path: '/servers' }, i + 1))

  test('gives the same faults each time, and another seed gives others', () => {
    expect(schedule(1)).toEqual(schedule(1))
    expect(schedule(1)).not.toEqual(schedule(2))
  })

  test('hits about as often as its probability says, with every kind of fault', () => {
    const faults = schedule(7).filter(fault => fault !== undefined)
    expect(faults.length).toBeGreaterThan(60)
    expect(faults.length).toBeLessThan(120)
    expect(new Set(faults.map(fault => fault.kind))).toEqual(
      new Set(['status', 'reset_before', 'lost_answer', 'truncate', 'slow']),
    )
  })

  test('never draws a conflict or a lock for a read', () => {
    const reads = schedule(3, 'hetzner', 'GET').flatMap(fault => (fault?.kind === 'status' ? [fault.status] : []))
    const writes = schedule(3).flatMap(fault => (fault?.kind === 'status' ? [fault.status] : []))
    expect(reads.length).toBeGreaterThan(20)
    expect(reads.filter(status => status === 409 || status === 423)).toEqual([])
    expect(new Set(writes)).toEqual(new Set([409, 423, 429, 500, 502, 503, 504]))
  })

  test('depends on what is asked for the how-manieth time, not on the order of other requests', () => {
    const settings = settingsWith({ chaos: { seed: 5, probability: 0.5 } })
    const a = { vendor: 'cloudflare', method: 'GET', path: '/a' } as const
    const b = { vendor: 'cloudflare', method: 'GET', path: '/b' } as const
    const [first, second] = [createFaultSource(), createFaultSource()]
    const mixed = [a, b, a, b, a].map(one => [one.path, first.next(one, settings)] as const)
    const sorted = [a, a, a, b, b].map(one => [one.path, second.next(one, settings)] as const)
    for (const path of ['/a', '/b']) expect(mixed.filter(one => one[0] === path)).toEqual(sorted.filter(one => one[0] === path))
  })
})
