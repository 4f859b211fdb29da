/**
 * Receives GitHub's webhooks. A delivery is believed when its signature is right, and then means one thing: go and look. What it says
 * is not read, so a replay, a loss or a wrong order does no harm; deliveries that come while somebody looks cause one more look.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import { LandfallError } from '../errors.ts'
import type { Secret } from '../secret.ts'

export interface ReceiverOptions {
  readonly port: number
  readonly hostname: string
  readonly secret: Secret
  /** Called for each good delivery; must not throw. */
  readonly onDelivery: (delivery: { readonly event: string; readonly id: string }) => void
}

export interface Receiver {
  readonly url: string
  close(): Promise<void>
}

/** GitHub sends at most 25 MB; what pull requests and comments cause stays far below this. */
export const BODY_LIMIT_BYTES = 5 * 1024 * 1024
const EVENTS = new Set(['pull_request', 'issue_comment', 'issues', 'push'])

/** Whether `signature` ("sha256=…") is of exactly these bytes; takes as long for a wrong one as for a right one. */
export function isSigned(body: Uint8Array, signature: string, secret: Secret): boolean {
  const wanted = Buffer.from(`sha256=${createHmac('sha256', secret.reveal()).update(body).digest('hex')}`)
  const given = Buffer.from(signature)
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}

/** @throws LandfallError usage, when the port is taken */
export function receiveWebhooks({ port, hostname, secret, onDelivery }: ReceiverOptions): Receiver {
  const answer = (status: number, text: string) =>
    new Response(`${text}\n`, { status, headers: { 'content-type': 'text/plain', 'cache-control': 'no-store' } })
  const respond = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url)
    if (request.method === 'GET' && pathname === '/health') return answer(200, 'ok')
    if (pathname !== '/webhook') return answer(404, 'not found')
    if (request.method !== 'POST') return answer(405, 'POST only')
    const length = Number(request.headers.get('content-length') ?? Number.NaN)
    if (length > BODY_LIMIT_BYTES) return answer(413, 'too large')
    const body = new Uint8Array(await request.arrayBuffer())
    if (!isSigned(body, request.headers.get('x-hub-signature-256') ?? '', secret))
      return answer(401, 'the signature is not right')
    const event = request.headers.get('x-github-event') ?? ''
    if (event === 'ping') return answer(200, 'pong')
    if (!EVENTS.has(event)) return answer(202, 'not of interest')
    onDelivery({ event, id: request.headers.get('x-github-delivery') ?? '' })
    return answer(202, 'looking')
  }
  try {
    const server = Bun.serve({ hostname, port, maxRequestBodySize: BODY_LIMIT_BYTES, idleTimeout: 10, fetch: respond })
    return { url: `http://${hostname}:${server.port}/webhook`, close: () => server.stop(true) }
  } catch (error) {
    throw new LandfallError('usage', `Port ${port} of this machine is taken.`, {
      hint: 'Choose another: bun scripts/preview.ts serve --port 8098',
      cause: error,
    })
  }
}

export interface Coalescer {
  /** Something may have changed. */
  notice(): void
  /** Resolves when nothing is under way or due. */
  idle(): Promise<void>
}

/** Runs `look` once for any number of notices that come while it runs, never twice at the same time. */
export function coalesce(look: () => Promise<void>): Coalescer {
  let due = false
  let running: Promise<void> | undefined
  const work = async () => {
    while (due) {
      due = false
      await look()
    }
    running = undefined
  }
  return {
    notice() {
      due = true
      running ??= work()
    },
    async idle() {
      while (running) await running
    },
  }
}
