/**
 * Sends requests at a fixed rate until SIGTERM, each on a connection of its own, and then writes what became of them as JSON:
 * `bun load.ts ADDRESS PORT RATE FILE`. Five parts GET and POST, one in forty a request that takes three seconds.
 */

import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { argv, exit } from 'node:process'

export interface LoadReport {
  readonly sent: number
  readonly seconds: number
  readonly total: Readonly<Record<string, number>>
  readonly failed: Readonly<Record<string, number>>
  /** Answers by host and version. */
  readonly versions: Readonly<Record<string, number>>
  /** The first failures, in words. */
  readonly whys: readonly string[]
}

interface Kind {
  readonly kind: 'GET' | 'POST' | 'slow'
  readonly host: string
  readonly path: string
}

const APP = 'app.example.com'
const PYTHON = 'python-api.example.com'
const QUICK: readonly Kind[] = [
  { kind: 'GET', host: APP, path: '/api/items' },
  { kind: 'POST', host: APP, path: '/api/items' },
  { kind: 'GET', host: APP, path: '/' },
  { kind: 'GET', host: PYTHON, path: '/items' },
  { kind: 'POST', host: PYTHON, path: '/items' },
  { kind: 'POST', host: APP, path: '/form' },
]
const SLOW: readonly Kind[] = [
  { kind: 'slow', host: APP, path: '/api/slow' },
  { kind: 'slow', host: APP, path: '/slow' },
  { kind: 'slow', host: PYTHON, path: '/slow' },
]
const SLOW_EVERY = 40
const BODY = 'x'.repeat(200)

if (import.meta.main) {
  const [address = '127.0.0.1', port = '8080', rate = '200', file = 'load.json'] = argv.slice(2)
  const total: Record<string, number> = {}
  const failed: Record<string, number> = {}
  const versions: Record<string, number> = {}
  const whys: string[] = []
  const add = (counts: Record<string, number>, key: string) => {
    counts[key] = (counts[key] ?? 0) + 1
  }
  let sent = 0
  let ended = 0

  const send = ({ kind, host, path }: Kind): void => {
    sent++
    add(total, kind)
    let over = false
    const end = (why?: string) => {
      if (over) return
      over = true
      ended++
      if (why === undefined) return
      add(failed, kind)
      if (whys.length < 40) whys.push(`${((performance.now() - startedMs) / 1000).toFixed(2)} s ${kind} ${host}${path}: ${why}`)
    }
    const isPost = kind === 'POST'
    const headers = { host, connection: 'close', ...(isPost ? { 'content-length': String(BODY.length) } : {}) }
    const call = request(
      { host: address, port: Number(port), path, method: isPost ? 'POST' : 'GET', agent: false, headers },
      answer => {
        let text = ''
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        answer.on('error', error => end(error.message))
        answer.on('end', () => {
          const said = /"version":\s*"(\w+)".*"bytes":\s*(\d+)/.exec(text)
          if (answer.statusCode !== 200) return end(`status ${answer.statusCode}`)
          if (Number(said?.[2]) !== (isPost ? BODY.length : 0)) return end(`a wrong answer: ${text.slice(0, 100)}`)
          add(versions, `${host.split('.')[0]} ${said?.[1]}`)
          end()
        })
      },
    )
    call.setTimeout(30_000, () => call.destroy(new Error('no answer within 30 s')))
    call.on('error', error => end(error.message))
    call.end(isPost ? BODY : undefined)
  }

  const startedMs = performance.now()
  let dueMs = startedMs
  const timer = setInterval(() => {
    const nowMs = performance.now()
    // A generator that was kept from running goes on at its rate: what it missed is not sent in one burst.
    if (nowMs - dueMs > 100) dueMs = nowMs
    for (; dueMs <= nowMs; dueMs += 1000 / Number(rate)) {
      const kind = sent % SLOW_EVERY === 7 ? SLOW[Math.floor(sent / SLOW_EVERY) % SLOW.length] : QUICK[sent % QUICK.length]
      if (kind) send(kind)
    }
  }, 5)
  process.on('SIGTERM', () => {
    clearInterval(timer)
    const seconds = (performance.now() - startedMs) / 1000
    setInterval(() => {
      if (ended < sent) return
      writeFileSync(file, JSON.stringify({ sent, seconds, total, failed, versions, whys } satisfies LoadReport))
      exit(0)
    }, 20)
  })
}
