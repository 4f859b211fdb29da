/**
 * The HTTP side of every stand-in: a real server on loopback that adds latency and faults, keeps the ground truth of what was asked,
 * and leaves the rules to the stand-in. `node:http`, because faults need the socket: resets, silence, half an answer.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createFaultSource, type FaultSource } from './faults.ts'
import type {
  FaultEffect,
  Hooks,
  LoggedRequest,
  SandboxClock,
  SandboxSettings,
  StandIn,
  StandInRequest,
  StandInResponse,
  Store,
} from './kit.ts'

export interface RequestLog {
  /** The number of the next request, counted from 1 over all fronts that share this log. */
  next(): number
  append(request: LoggedRequest): void
  /** The newest requests, oldest first. */
  all(): LoggedRequest[]
  /** Forgets them; numbers go on. */
  clear(): void
}

export interface FrontOptions {
  /** Path prefix that the stand-in's paths are below, without a trailing slash: "/client/v4". */
  readonly base: string
  /** 0, and by default: any free port. */
  readonly port?: number
  readonly clock: SandboxClock
  readonly settings: () => Pick<SandboxSettings, 'latencyMs' | 'faults' | 'chaos'>
  readonly log?: RequestLog
  readonly hooks?: Hooks
  /** Shared between fronts when a schedule spans vendors; own counts otherwise. */
  readonly faults?: FaultSource
  /** Puts a request's effects on disk; called before the answer leaves. */
  readonly flush?: () => void
  /** Told when the stand-in itself fails; the client gets a 500 that says so. */
  readonly onBug?: (error: unknown) => void
}

export interface Front {
  /** With the base, without a trailing slash. */
  readonly url: string
  readonly port: number
  /** Cuts every connection, hanging ones too. */
  close(): Promise<void>
}

const BODY_LIMIT_BYTES = 10 * 1_048_576
// Longer than clients keep idle connections, so that a reused one is never closed under a request.
const KEEP_ALIVE_MS = 120_000
const LOG_LIMIT = 20_000

export function createRequestLog(store: Store, settings: () => Pick<SandboxSettings, 'keepRequests'>): RequestLog {
  const kept = store.collection<LoggedRequest>('sandbox.requests')
  let requests = kept.all()
  let last = requests.at(-1)?.n ?? 0
  return {
    next() {
      last += 1
      return last
    },
    append(request) {
      requests.push(request)
      if (requests.length > LOG_LIMIT * 2) requests = requests.slice(-LOG_LIMIT)
      if (settings().keepRequests) kept.put(String(request.n), request)
    },
    all: () => requests.slice(-LOG_LIMIT).sort((a, b) => a.n - b.n),
    clear() {
      requests = []
    },
  }
}

/** Serves `standIn` on 127.0.0.1 until `close`. */
export async function serveStandIn(standIn: StandIn, options: FrontOptions): Promise<Front> {
  const faults = options.faults ?? createFaultSource()
  let ownCount = 0
  const nextNumber = options.log ? options.log.next : () => ++ownCount

  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const received = await readBody(incoming)
    if (received === 'gone') return
    if (received === 'too_large')
      return send(outgoing, options.clock, { status: 413, text: 'Request Entity Too Large\n', headers: PLAIN })
    const body = received.text
    const request = toRequest(incoming, body, options)
    if (!request) return send(outgoing, options.clock, { status: 404, text: '404 page not found\n', headers: PLAIN })

    const n = nextNumber()
    const about = { vendor: standIn.vendor, method: request.method, path: request.path, n }
    const settings = options.settings()
    const fault = faults.next(about, settings)
    if (settings.latencyMs > 0) await sleep(settings.latencyMs / 2)

    await options.hooks?.beforeEffect?.(about)
    const response = hasEffect(fault) ? await take(standIn, request, options) : undefined
    await options.hooks?.afterEffect?.(about)

    if (fault?.kind === 'slow') await sleep(fault.ms)
    if (settings.latencyMs > 0) await sleep(settings.latencyMs / 2)
    const sent = deliver(outgoing, options.clock, fault, response)
    options.log?.append({
      n,
      vendor: standIn.vendor,
      method: request.method,
      path: request.path,
      query: request.query.toString(),
      body,
      status: sent?.status ?? 0,
      responseBody: sent ? bodyOf(sent) : '',
      atMs: request.atMs,
      ...(fault ? { fault: fault.kind } : {}),
    })
    if (options.hooks?.afterAnswer) {
      if (sent && !outgoing.writableFinished && !outgoing.destroyed) await ended(outgoing)
      await options.hooks.afterAnswer(about)
    }
  }

  const server = createServer((incoming, outgoing) => {
    answer(incoming, outgoing).catch(error => {
      options.onBug?.(error)
      incoming.socket.destroy()
    })
  })
  server.keepAliveTimeout = KEEP_ALIVE_MS
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}${options.base}`,
    port,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const PLAIN = { 'content-type': 'text/plain; charset=utf-8' }

const hasEffect = (fault: FaultEffect | undefined): boolean =>
  fault?.kind !== 'reset_before' && !(fault?.kind === 'status' && !fault.after)

const take = async (standIn: StandIn, request: StandInRequest, options: FrontOptions): Promise<StandInResponse> => {
  try {
    const response = await standIn.handle(request)
    options.flush?.()
    return response
  } catch (error) {
    options.onBug?.(error)
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return {
      status: 500,
      text: `The sandbox's ${standIn.vendor} stand-in failed, this is a bug in the sandbox: ${why}\n`,
      headers: PLAIN,
    }
  }
}

/** Sends what the fault leaves of the response; answers with what the client got, or nothing. */
const deliver = (
  outgoing: ServerResponse,
  clock: SandboxClock,
  fault: FaultEffect | undefined,
  response: StandInResponse | undefined,
): StandInResponse | undefined => {
  switch (fault?.kind) {
    case 'reset_before':
    case 'lost_answer':
      outgoing.socket?.destroy()
      return undefined
    case 'hang':
      return undefined
    case 'status': {
      const { kind: _kind, after: _after, ...answer } = fault
      send(outgoing, clock, answer)
      return answer
    }
    case 'truncate':
      if (response) cut(outgoing, clock, response)
      return undefined
    default:
      if (response) send(outgoing, clock, response)
      return response
  }
}

const bodyOf = (response: StandInResponse): string =>
  response.text ?? (response.json === undefined ? '' : JSON.stringify(response.json))

const headersOf = (response: StandInResponse, body: string, clock: SandboxClock): Record<string, string> => ({
  // The sandbox's clock, not this machine's: clients correct their own clock by it.
  Date: new Date(clock.nowMs()).toUTCString(),
  ...(response.text === undefined && response.json !== undefined ? { 'content-type': 'application/json' } : {}),
  ...response.headers,
  ...(response.status === 204 || response.status === 304 ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
})

const send = (outgoing: ServerResponse, clock: SandboxClock, response: StandInResponse): void => {
  const body = bodyOf(response)
  outgoing.writeHead(response.status, headersOf(response, body, clock))
  outgoing.end(body)
}

const cut = (outgoing: ServerResponse, clock: SandboxClock, response: StandInResponse): void => {
  const body = bodyOf(response)
  outgoing.writeHead(response.status, headersOf(response, body, clock))
  // Destroying in the same tick would take the half that was written along.
  outgoing.write(body.slice(0, Math.max(1, body.length >> 1)), () => setTimeout(() => outgoing.socket?.destroy(), 2))
}

const ended = (outgoing: ServerResponse): Promise<void> =>
  new Promise(resolve => {
    outgoing.once('finish', resolve)
    outgoing.once('close', resolve)
  })

const readBody = (incoming: IncomingMessage): Promise<{ readonly text: string } | 'too_large' | 'gone'> =>
  new Promise(resolve => {
    const chunks: Buffer[] = []
    let size = 0
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= BODY_LIMIT_BYTES) chunks.push(chunk)
    })
    incoming.on('end', () => resolve(size > BODY_LIMIT_BYTES ? 'too_large' : { text: Buffer.concat(chunks).toString('utf8') }))
    // A request that never arrived whole has no effect, and nobody waits for its answer.
    incoming.on('error', () => resolve('gone'))
    incoming.on('close', () => resolve('gone'))
  })

const toRequest = (incoming: IncomingMessage, bodyText: string, options: FrontOptions): StandInRequest | undefined => {
  const target = incoming.url ?? '/'
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  if (!path.startsWith(`${options.base}/`)) return undefined
  const headers = new Headers()
  for (const [name, value] of Object.entries(incoming.headers))
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value)
  return {
    method: incoming.method ?? 'GET',
    path: path.slice(options.base.length),
    query: new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1)),
    headers,
    bodyText,
    atMs: options.clock.nowMs(),
  }
}

const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
