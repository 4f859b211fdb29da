/** One Cloudflare zone over real HTTP, with the rules that the adapter relies on, and faults on demand. */

import { createMeter, type Meter } from '../../../../lib/engine/meter.ts'
import type { ProviderContext } from '../../../../lib/providers/context.ts'

export interface FakeRecord {
  id: string
  name: string
  type: string
  content: string
  ttl: number
  proxied: boolean
  comment: string
}

interface BatchBody {
  deletes?: { id: string }[]
  patches?: ({ id: string } & Partial<FakeRecord>)[]
  posts?: (Omit<FakeRecord, 'id' | 'proxied'> & { proxied?: boolean; data?: { flags: number; tag: string; value: string } })[]
}

/** What happens to one request: `instead` answers without an effect, `lost` has the effect and half an answer. */
export type Fault = { instead: () => Response } | { lost: true }

export interface FakeZone {
  readonly endpoint: string
  readonly records: Map<string, FakeRecord>
  readonly requests: { method: string; path: string; query: string; body: string; headers: Headers }[]
  /** Asked before each request; undefined leaves it alone. */
  fault: (request: { method: string; path: string; n: number }) => Fault | undefined
  zones: { id: string; name: string; status: string; name_servers: string[]; paused?: boolean }[]
  /** The largest page that the zone gives. */
  maxPerPage: number
  /** Added to what the list says it holds. */
  phantoms: number
  add(record: Partial<FakeRecord> & { name: string }): FakeRecord
  stop(): void
}

const failed = (status: number, code: number, message: string, headers: Record<string, string> = {}): Response =>
  Response.json(
    { success: false, errors: [{ code, message }], messages: [], result: null },
    { status, headers: { 'cf-ray': 'ray-1', ...headers } },
  )

export const answers = { failed }

export function startFakeZone(): FakeZone {
  let nextId = 1
  let n = 0

  const apply = (body: BatchBody): Response => {
    const draft = new Map(zone.records)
    for (const { id } of body.deletes ?? []) if (!draft.delete(id)) return failed(404, 81044, 'Record does not exist.')
    for (const patch of body.patches ?? []) {
      const now = draft.get(patch.id)
      if (now === undefined) return failed(404, 81044, 'Record does not exist.')
      draft.set(patch.id, { ...now, ...patch })
    }
    for (const { data, ...post } of body.posts ?? []) {
      const content = data === undefined ? post.content : `${data.flags} ${data.tag} "${data.value}"`
      const same = [...draft.values()].filter(record => record.name === post.name)
      if (same.some(record => record.type === post.type && record.content === content))
        return failed(400, 81058, 'An identical record already exists.')
      if (
        same.some(record => (record.type === 'CNAME') !== (post.type === 'CNAME') && ['A', 'AAAA', 'CNAME'].includes(record.type))
      )
        return failed(400, 81053, 'An A, AAAA, or CNAME record with that host already exists.')
      const id = `rec${nextId++}`
      draft.set(id, { id, proxied: false, ...post, content })
    }
    zone.records.clear()
    for (const [id, record] of draft) zone.records.set(id, record)
    return Response.json({ success: true, errors: [], messages: [], result: {} })
  }

  const handle = (method: string, path: string, query: URLSearchParams, body: string): Response => {
    if (method === 'GET' && path === '/zones') {
      const name = query.get('name')
      const result = zone.zones.filter(each => name === null || each.name === name).slice(0, Number(query.get('per_page') ?? 20))
      const total = zone.zones.filter(each => name === null || each.name === name).length
      return Response.json({ success: true, errors: [], messages: [], result, result_info: { page: 1, total_count: total } })
    }
    if (method === 'GET' && path === '/user/tokens/verify')
      return Response.json({ success: true, errors: [], messages: [], result: { id: 't', status: 'active' } })
    if (method === 'GET' && path.endsWith('/dns_records')) {
      const perPage = Math.min(zone.maxPerPage, Number(query.get('per_page') ?? 100))
      const page = Number(query.get('page') ?? 1)
      const all = [...zone.records.values()]
      const result = all.slice((page - 1) * perPage, page * perPage)
      const info = { page, per_page: perPage, count: result.length, total_count: all.length + zone.phantoms }
      return Response.json({ success: true, errors: [], messages: [], result, result_info: info })
    }
    if (method === 'POST' && path.endsWith('/dns_records/batch')) {
      const parsed: BatchBody = JSON.parse(body)
      const size = (parsed.deletes?.length ?? 0) + (parsed.patches?.length ?? 0) + (parsed.posts?.length ?? 0)
      return size > 200 ? failed(400, 1004, 'Too many operations.') : apply(parsed)
    }
    return failed(404, 7003, 'Could not route.')
  }

  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request) {
      const url = new URL(request.url)
      const path = url.pathname.replace('/client/v4', '')
      const body = await request.text()
      n += 1
      zone.requests.push({ method: request.method, path, query: url.search, body, headers: request.headers })
      const fault = zone.fault({ method: request.method, path, n })
      if (fault !== undefined && 'instead' in fault) return fault.instead()
      const answer = handle(request.method, path, url.searchParams, body)
      // The request had its effect, and the client gets half an answer.
      return fault === undefined ? answer : new Response((await answer.text()).slice(0, 12))
    },
  })

  const zone: FakeZone = {
    endpoint: `http://127.0.0.1:${server.port}/client/v4`,
    records: new Map(),
    requests: [],
    fault: () => undefined,
    zones: [{ id: 'zone1', name: 'example.com', status: 'active', name_servers: ['ada.ns.example.net', 'bob.ns.example.net'] }],
    maxPerPage: 5_000,
    phantoms: 0,
    add(record) {
      const whole = { id: `rec${nextId++}`, type: 'A', content: '192.0.2.1', ttl: 300, proxied: false, comment: '', ...record }
      zone.records.set(whole.id, whole)
      return whole
    },
    stop: () => void server.stop(true),
  }
  return zone
}

export interface TestContext extends ProviderContext {
  readonly meter: Meter
  readonly lines: string[]
  readonly waitsMs: number[]
  readonly writes: string[]
  readonly controller: AbortController
}

/** A context whose clock jumps instead of waiting. */
export function createTestContext(overrides: Partial<ProviderContext> = {}): TestContext {
  const lines: string[] = []
  const waitsMs: number[] = []
  const writes: string[] = []
  const controller = new AbortController()
  let nowMs = 1_000_000
  return {
    clock: {
      nowMs: () => nowMs,
      monotonicMs: () => nowMs,
      sleep: async ms => {
        waitsMs.push(ms)
        nowMs += ms
      },
    },
    meter: createMeter(),
    signal: controller.signal,
    random: () => 0.5,
    log: line => void lines.push(line),
    beforeWrite: async ({ method, path }) => void writes.push(`${method} ${path}`),
    ...overrides,
    lines,
    waitsMs,
    writes,
    controller,
  }
}
