/** What the adapter's tests stand on: time that passes only when everything waits, and a transport that answers from a function. */

import type { Clock } from '../../../../lib/engine/clock.ts'
import { createMeter } from '../../../../lib/engine/meter.ts'
import { LandfallError } from '../../../../lib/errors.ts'
import { createHetznerOver } from '../../../../lib/providers/hetzner/hetzner.ts'
import type { TransportFailure, TransportRequest, TransportResponse } from '../../../../lib/providers/hetzner/transport.ts'
import { Secret } from '../../../../lib/secret.ts'

/** A clock that jumps to the next wake-up as soon as nothing else is left to do. */
export function virtualClock(epochMs = Date.UTC(2026, 10, 20)): Clock {
  let nowMs = 0
  const sleepers: { readonly atMs: number; readonly wake: () => void }[] = []
  let advancing = false
  const advance = () => {
    advancing = false
    sleepers.sort((one, other) => one.atMs - other.atMs)
    const next = sleepers.shift()
    if (next === undefined) return
    nowMs = Math.max(nowMs, next.atMs)
    next.wake()
    keepAdvancing()
  }
  const keepAdvancing = () => {
    if (advancing) return
    advancing = true
    // After all promise reactions, so that everything which can happen now has happened.
    setImmediate(advance)
  }
  return {
    nowMs: () => epochMs + nowMs,
    monotonicMs: () => nowMs,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const stop = () => {
          const index = sleepers.indexOf(sleeper)
          if (index >= 0) sleepers.splice(index, 1)
          reject(new LandfallError('cancelled', 'Interrupted.'))
        }
        const sleeper = {
          atMs: nowMs + ms,
          wake: () => {
            signal?.removeEventListener('abort', stop)
            resolve()
          },
        }
        if (signal?.aborted) return stop()
        signal?.addEventListener('abort', stop, { once: true })
        sleepers.push(sleeper)
        keepAdvancing()
      }),
  }
}

/** What a test answers with: JSON with status 200, a whole response, or how the transport failed. */
export type Reply =
  | { readonly json: unknown; readonly status?: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly text: string; readonly status?: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly fails: TransportFailure }

export type Answering = (request: TransportRequest, n: number) => Reply | Promise<Reply>

export interface Rig {
  readonly hetzner: ReturnType<typeof createHetznerOver>
  readonly clock: Clock
  /** Every request, in order: "GET /servers?page=1&per_page=50". */
  readonly sent: string[]
  readonly requests: TransportRequest[]
  /** Each request's moment, in the order of `sent`. */
  readonly sentAtMs: number[]
  readonly log: string[]
  /** What was asked of `beforeWrite`. */
  readonly guarded: string[]
  counts(): { readonly reads: number; readonly writes: number }
  interrupt(): void
}

export const TOKEN = 'tok3n-tok3n-tok3n'

export function rig(
  answer: Answering,
  options: {
    readonly latencyMs?: number
    readonly beforeWrite?: () => Promise<void>
    readonly likelyServers?: number
    readonly requestsLeft?: number
  } = {},
): Rig {
  const clock = virtualClock()
  const meter = createMeter()
  const stop = new AbortController()
  const [sent, requests, sentAtMs, log, guarded]: [string[], TransportRequest[], number[], string[], string[]] = [
    [],
    [],
    [],
    [],
    [],
  ]
  const send = async (request: TransportRequest): Promise<TransportResponse> => {
    await request.beforeSend?.()
    const query = new URLSearchParams((request.query ?? []).map(([name, value]): [string, string] => [name, value])).toString()
    sent.push(`${request.method} ${request.path}${query === '' ? '' : `?${query}`}`)
    requests.push(request)
    sentAtMs.push(clock.monotonicMs())
    const n = sent.length
    const { latencyMs = 0 } = options
    if (latencyMs > 0) await clock.sleep(latencyMs / 2)
    const reply = await answer(request, n)
    if (latencyMs > 0) await clock.sleep(latencyMs / 2)
    if ('fails' in reply) throw new LandfallError('network', 'the connection was closed', { vendorCode: reply.fails })
    const headers = 'headers' in reply ? (reply.headers ?? {}) : {}
    return { status: reply.status ?? 200, headers, text: 'json' in reply ? JSON.stringify(reply.json) : reply.text }
  }
  const hetzner = createHetznerOver(
    { send },
    {
      token: new Secret('HCLOUD_TOKEN', TOKEN),
      ...(options.likelyServers === undefined ? {} : { likelyServers: options.likelyServers }),
      ...(options.requestsLeft === undefined ? {} : { requestsLeft: options.requestsLeft }),
      context: {
        clock,
        meter,
        signal: stop.signal,
        random: () => 0.5,
        log: line => log.push(line),
        beforeWrite: async ({ method, path }) => {
          guarded.push(`${method} ${path}`)
          await options.beforeWrite?.()
        },
      },
    },
  )
  return {
    hetzner,
    clock,
    sent,
    requests,
    sentAtMs,
    log,
    guarded,
    counts: () => meter.snapshot().hetzner ?? { reads: 0, writes: 0 },
    interrupt: () => stop.abort(),
  }
}

/** An error answer as the vendor writes it. */
export const refusal = (status: number, code: string, details: unknown = null): Reply => ({
  status,
  json: { error: { code, message: `about ${code}`, details } },
  headers: { 'x-correlation-id': 'c0ffee' },
})

/** What `work` failed with. */
export async function failureOf(work: Promise<unknown>): Promise<LandfallError> {
  const outcome = await work.then(
    value => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ('error' in outcome && outcome.error instanceof LandfallError) return outcome.error
  throw new Error(`expected a LandfallError, got ${JSON.stringify(outcome)}`)
}

/** One page of a list. */
export const page = (key: string, items: readonly unknown[], pagination: unknown = { page: 1, next_page: null }): Reply => ({
  json: { [key]: items, meta: { pagination } },
})
