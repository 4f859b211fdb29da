/** A cloud of one's own for a test: a store in memory, a clock that moves when told, and a client that says what came back. */

import { createHetznerStandIn, type HetznerDeps } from '../../../lib/sandbox/hetzner/standin.ts'
import type { SandboxClock, Store } from '../../../lib/sandbox/kit.ts'
import { openStore } from '../../../lib/sandbox/store.ts'

export const TOKEN = 'w'.repeat(64)
export const READ_TOKEN = 'r'.repeat(64)
export const OTHER_TOKEN = 'o'.repeat(64)

/** Parsed JSON, walked without types: a test asserts on what it finds. */
export class Json {
  constructor(readonly value: unknown) {}

  at(...path: (string | number)[]): Json {
    let value = this.value
    for (const key of path) value = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined
    return new Json(value)
  }

  list(): Json[] {
    return Array.isArray(this.value) ? this.value.map(entry => new Json(entry)) : []
  }

  number(): number {
    if (typeof this.value !== 'number') throw new Error(`not a number: ${JSON.stringify(this.value)}`)
    return this.value
  }
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly json: unknown
  readonly body: Json
  readonly code: unknown
}

export interface World {
  readonly store: Store
  readonly control: ReturnType<typeof createHetznerStandIn>['control']
  readonly clock: SandboxClock
  /** How often a change was announced. */
  readonly changes: () => number
  pass(ms: number): void
  send(method: string, path: string, body?: unknown, token?: string | null): Answer
  /** Lets everything that is under way end. */
  wait(): void
}

export interface WorldOptions {
  readonly store?: Store
  readonly actionMs?: Readonly<Record<string, number>>
  readonly rateLimits?: boolean
  readonly startMs?: number
  readonly seen?: (method: string, path: string, body: string | undefined, answer: Answer) => void
}

export const openWorld = (options: WorldOptions = {}): World => {
  const store = options.store ?? openStore(':memory:')
  let nowMs = options.startMs ?? Date.UTC(2026, 10, 20, 12)
  let changes = 0
  const clock = { nowMs: () => nowMs }
  const settings: HetznerDeps['settings'] = () => ({
    actionMs: { other: 1000, ...options.actionMs },
    rateLimits: options.rateLimits ?? false,
  })
  const standIn = createHetznerStandIn({ store, clock, settings, onChange: () => changes++ })
  const { control } = standIn
  control.addToken(TOKEN, { project: 'one', access: 'read_write' })
  control.addToken(READ_TOKEN, { project: 'one', access: 'read_only' })
  control.addToken(OTHER_TOKEN, { project: 'two', access: 'read_write' })

  const send: World['send'] = (method, path, body, token = TOKEN) => {
    const url = new URL(`http://sandbox.example${path}`)
    const bodyText = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)
    const response = standIn.handle({
      method,
      path: url.pathname,
      query: url.searchParams,
      headers: new Headers(token === null ? {} : { authorization: `Bearer ${token}` }),
      bodyText,
      atMs: nowMs,
    })
    if (response instanceof Promise) throw new Error('the stand-in must answer at once')
    // What travels is text: whatever does not survive that is not part of the answer.
    const json: unknown = response.json === undefined ? undefined : JSON.parse(JSON.stringify(response.json))
    const parsed = new Json(json)
    const answer = {
      status: response.status,
      headers: response.headers ?? {},
      json,
      body: parsed,
      code: parsed.at('error', 'code').value,
    }
    options.seen?.(method, path, body === undefined ? undefined : bodyText, answer)
    return answer
  }
  const wait = (): void => {
    for (let next = control.nextEventAtMs(); next !== undefined; next = control.nextEventAtMs()) {
      nowMs = Math.max(nowMs, next)
      control.settle()
    }
  }
  const pass = (ms: number): void => {
    nowMs += ms
  }
  return { store, control, clock, changes: () => changes, pass, send, wait }
}

/** A valid OpenSSH public key, different for every `seed`. */
export const publicKey = (seed: number): string => {
  const type = Buffer.from('ssh-ed25519')
  const length = (bytes: number): Buffer => Buffer.from([0, 0, 0, bytes])
  return `ssh-ed25519 ${Buffer.concat([length(11), type, length(32), Buffer.alloc(32, seed)]).toString('base64')} someone@example.com`
}

export const SERVER = { name: 'prod', server_type: 'cx23', image: 'ubuntu-24.04', location: 'nbg1' } as const

/** Makes a server and waits until it runs; its id. */
export const makeServer = (world: World, more: Readonly<Record<string, unknown>> = {}): number => {
  const id = world
    .send('POST', '/servers', { ...SERVER, ...more })
    .body.at('server', 'id')
    .number()
  world.wait()
  return id
}
