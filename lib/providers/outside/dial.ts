/**
 * A TCP connection to an address, directly or through the sandbox's CONNECT proxy, with the one distinction that a firewall is judged
 * by: closed (somebody said no) or filtered (nobody said anything).
 */

import net from 'node:net'
import { LandfallError } from '../../errors.ts'
import type { Route } from '../context.ts'

/** `failed`: this machine or the proxy could not try, which says nothing about the port. */
export type Dialled =
  | { readonly state: 'open'; readonly socket: net.Socket }
  | { readonly state: 'closed' | 'filtered' | 'failed'; readonly why: string }

export type Dial = (address: string, port: number, timeoutMs: number) => Promise<Dialled>

/** A dialler for one route. @throws (its promise) LandfallError cancelled, when `signal` aborts */
export const createDial =
  (route: Route, signal?: AbortSignal): Dial =>
  (address, port, timeoutMs) =>
    dial(route, address, port, timeoutMs, signal)

/** The most that a proxy's answer may take before its end. */
const HEAD_LIMIT_BYTES = 8_192

/**
 * One connection to `address` (IPv4, IPv6 without brackets, or a name that the system resolves). An open socket is paused, has its
 * errors handled by destruction, and belongs to the caller. The whole takes at most `timeoutMs`; silence is `filtered`.
 */
export function dial(route: Route, address: string, port: number, timeoutMs: number, signal?: AbortSignal): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(interrupted())
    // Goes into a request line.
    if (route.kind === 'proxy' && !/^[a-z0-9.:_-]+$/i.test(address))
      return resolve({ state: 'failed', why: 'the address is neither an IP nor a name' })
    const target = route.kind === 'direct' ? { host: address, port } : { host: route.host, port: route.port }
    const socket = net.connect({ ...target, autoSelectFamily: false })
    let settled = false

    const settle = (result: Dialled): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      if (result.state === 'open') socket.pause()
      else socket.destroy()
      resolve(result)
    }
    const onAbort = (): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      socket.destroy()
      reject(interrupted())
    }
    const timer = setTimeout(() => settle({ state: 'filtered', why: `no answer within ${timeoutMs / 1000} s` }), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })

    socket.on('error', error => {
      socket.destroy()
      if (route.kind === 'direct') settle(stateOfError(error, address))
      else settle({ state: 'failed', why: `the proxy at ${route.host}:${route.port} failed (${codeOf(error)})` })
    })
    socket.once('connect', () => {
      if (route.kind === 'direct') return settle({ state: 'open', socket })
      askProxy(socket, address, port, settle)
    })
  })
}

function askProxy(socket: net.Socket, address: string, port: number, settle: (result: Dialled) => void): void {
  const authority = net.isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
  let seen = Buffer.alloc(0)
  const onData = (chunk: Buffer): void => {
    seen = Buffer.concat([seen, chunk])
    const end = seen.indexOf('\r\n\r\n')
    if (end < 0) {
      if (seen.length > HEAD_LIMIT_BYTES) settle({ state: 'failed', why: 'the proxy does not speak HTTP' })
      return
    }
    socket.off('data', onData)
    socket.off('close', onClose)
    socket.pause()
    const rest = seen.subarray(end + 4)
    if (rest.length > 0) socket.unshift(rest)
    settle(stateOfProxyAnswer(seen.subarray(0, end).toString('latin1'), socket))
  }
  const onClose = (): void => settle({ state: 'failed', why: 'the proxy closed the connection without an answer' })
  socket.on('data', onData)
  socket.on('close', onClose)
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)
}

/** 200 is open; a 502 marked `X-Connect: refused` is closed; 504 is the proxy's own timeout; all else says nothing about the port. */
function stateOfProxyAnswer(head: string, socket: net.Socket): Dialled {
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? Number.NaN)
  if (status >= 200 && status < 300) return { state: 'open', socket }
  const mark = /^x-connect:[ \t]*([a-z-]+)[ \t]*$/im.exec(head)?.[1]?.toLowerCase()
  if (mark === 'refused') return { state: 'closed', why: 'connection refused' }
  if (mark === 'timeout' || status === 504) return { state: 'filtered', why: 'no answer through the proxy' }
  return { state: 'failed', why: Number.isNaN(status) ? 'the proxy does not speak HTTP' : `the proxy answered ${status}` }
}

function stateOfError(error: Error, address: string): Dialled {
  const code = codeOf(error)
  switch (code) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return { state: 'closed', why: 'connection refused' }
    // A firewall that rejects instead of dropping answers with "host unreachable" or "prohibited".
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'EACCES':
      return { state: 'filtered', why: `no way through (${code})` }
    default:
      return { state: 'failed', why: `no route from this machine to ${address} (${code})` }
  }
}

const codeOf = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : error.name)

const interrupted = (): LandfallError => new LandfallError('cancelled', 'Interrupted.')
