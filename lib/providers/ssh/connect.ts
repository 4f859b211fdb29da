/**
 * Opens a TCP connection through an HTTP CONNECT proxy. The sandbox's addresses exist only behind one. As a program it is ssh's
 * ProxyCommand: `connect.ts HOST PORT PROXY-HOST PROXY-PORT`, bytes on stdin and stdout.
 */

import { connect, isIP, type Socket } from 'node:net'
import { argv, exit, stderr, stdin, stdout } from 'node:process'
import { LandfallError } from '../../errors.ts'
import { isPort } from './target.ts'

export interface ProxyAddress {
  readonly host: string
  readonly port: number
}

const HEAD_LIMIT_BYTES = 16 * 1024

/** A paused socket whose next byte is the far side's first. @throws network | timeout | usage */
export function openThroughProxy(address: string, port: number, proxy: ProxyAddress, timeoutMs = 10_000): Promise<Socket> {
  if (isIP(address) === 0 || !isPort(port) || !isPort(proxy.port)) {
    return Promise.reject(new LandfallError('usage', 'A connection through a proxy needs an IP address and two port numbers.'))
  }
  const authority = isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`
  return new Promise((resolve, reject) => {
    const socket = connect(proxy.port, proxy.host)
    let head = Buffer.alloc(0)
    const fail = (code: 'network' | 'timeout', why: string, cause?: unknown) => {
      clearTimeout(timer)
      socket.destroy()
      reject(new LandfallError(code, `No connection to ${authority} through the proxy: ${why}.`, { cause }))
    }
    const timer = setTimeout(() => fail('timeout', `no answer within ${timeoutMs} ms`), timeoutMs)
    const onError = (error: Error) => fail('network', 'the proxy cannot be reached', error)
    const onEnd = () => fail('network', 'the proxy hung up')
    const onData = (chunk: Buffer) => {
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) {
        if (head.length > HEAD_LIMIT_BYTES) fail('network', 'the proxy does not speak HTTP')
        return
      }
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(head.toString('latin1'))?.[1]
      if (status !== '200') return fail('network', `the proxy answered ${status ?? 'something that is not HTTP'}`)
      clearTimeout(timer)
      socket.pause()
      socket.off('data', onData).off('error', onError).off('close', onEnd)
      if (head.length > end + 4) socket.unshift(head.subarray(end + 4))
      resolve(socket)
    }
    socket.on('connect', () => socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`))
    socket.on('data', onData).on('error', onError).on('close', onEnd)
  })
}

if (import.meta.main) {
  const [address = '', port = '', proxyHost = '', proxyPort = ''] = argv.slice(2)
  try {
    const socket = await openThroughProxy(address, Number(port), { host: proxyHost, port: Number(proxyPort) })
    socket.on('error', () => exit(1)).on('close', () => exit(0))
    // ssh ends us by closing our stdin; a half-open socket must not keep us.
    stdin.on('end', () => socket.end())
    stdout.on('error', () => exit(1))
    stdin.pipe(socket)
    socket.pipe(stdout)
  } catch (error) {
    stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    exit(1)
  }
}
