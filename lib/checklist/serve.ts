/** The checklist as a live page on this machine alone: no other site's page may read it or answer in somebody's name. */

import { randomBytes, timingSafeEqual } from 'node:crypto'
import { LandfallError } from '../errors.ts'
import type { Item } from './items.ts'
import { type Answer, type Answers, toAnswer } from './record.ts'
import { renderList, renderPage } from './render.ts'

export interface ServeOptions {
  readonly port: number
  readonly estate: string
  readonly items: readonly Item[]
  readonly who: string
  readonly nowMs: () => number
  readonly answers: () => Answers
  readonly save: (id: string, answer: Answer) => Promise<void>
}

export interface Served {
  readonly url: string
  close(): Promise<void>
}

const BODY_LIMIT_BYTES = 4_096

/** @throws LandfallError usage, when the port is taken */
export function serveChecklist(options: ServeOptions): Served {
  const token = randomBytes(16).toString('hex')
  const respond = async (request: Request): Promise<Response> => {
    const url = new URL(request.url)
    // A name that was made to lead here (DNS rebinding) is not one of these.
    if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.get('host') ?? '')) return new Response('', { status: 421 })
    if (request.method === 'GET' && url.pathname === '/') return page(options, token)
    if (request.method === 'GET' && url.pathname === '/list')
      return new Response(renderList(options.items, options.answers()), { headers: HEADERS })
    if (request.method === 'POST' && url.pathname === '/answer') return answer(request, options, token)
    return new Response('', { status: 404 })
  }
  try {
    const server = Bun.serve({ hostname: '127.0.0.1', port: options.port, maxRequestBodySize: BODY_LIMIT_BYTES, fetch: respond })
    return { url: `http://127.0.0.1:${server.port}/`, close: () => server.stop(true) }
  } catch (error) {
    throw new LandfallError('usage', `Port ${options.port} of this machine is taken.`, {
      hint: 'Choose another: --serve 8099',
      cause: error,
    })
  }
}

const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
}

function page({ estate, items, answers }: ServeOptions, token: string): Response {
  const nonce = randomBytes(16).toString('base64')
  const policy = `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
  return new Response(renderPage(items, answers(), { estate, token, nonce }), {
    headers: { ...HEADERS, 'content-security-policy': policy },
  })
}

async function answer(request: Request, options: ServeOptions, token: string): Promise<Response> {
  const given = Buffer.from(request.headers.get('x-landfall') ?? '')
  const wanted = Buffer.from(token)
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return new Response('', { status: 403 })
  let body: unknown
  try {
    body = await request.json()
  } catch {
    // Whatever it was, it was not from our page.
    return new Response('', { status: 400 })
  }
  const { id, state, evidence } = typeof body === 'object' && body !== null ? Object.fromEntries(Object.entries(body)) : {}
  const item = options.items.find(each => each.id === id)
  const known = (['yes', 'no', 'not_needed'] as const).find(each => each === state)
  if (!item || !known || typeof evidence !== 'string') return new Response('', { status: 400 })
  await options.save(item.id, toAnswer(known, evidence, options.who, options.nowMs()))
  return new Response(null, { status: 204 })
}
