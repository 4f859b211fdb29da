/**
 * A stand-in for Hetzner's load balancer with visitors in front of it, as one program: requests at a fixed rate, round robin over the
 * targets that pass their health checks. It judges targets as the vendor's document says: a target that fails `retries` checks in a row
 * gets no more requests, and needs as many good ones to get them again. It never sends a request twice, which the real one may.
 * `bun balancer.ts JSON`; ends when its stdin does, and then prints what became of every request.
 */

import { Agent, request } from 'node:http'
import { argv, exit, stdin, stdout } from 'node:process'

export interface BalancerWish {
  /** Private addresses. */
  readonly targets: readonly string[]
  readonly host: string
  readonly ratePerS: number
  readonly health: { readonly path: string; readonly intervalS: number; readonly timeoutS: number; readonly retries: number }
}

export interface BalancerReport {
  readonly sent: number
  readonly seconds: number
  /** Answers by their text. */
  readonly answers: Readonly<Record<string, number>>
  readonly failed: number
  /** Of the failures, how many by target and reason. */
  readonly reasons: Readonly<Record<string, number>>
  /** From the first failure to the last. */
  readonly failingMs: number
  /** How often each target was taken out. */
  readonly takenOut: Readonly<Record<string, number>>
}

const REQUEST_TIMEOUT_MS = 15_000

const ask = (target: string, host: string, path: string, timeoutMs: number): Promise<{ status: number; text: string }> =>
  new Promise((resolve, reject) => {
    const sent = request({ host: target, port: 80, path, headers: { host }, agent: new Agent({ keepAlive: false }) }, answer => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => {
        clearTimeout(timer)
        resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8').trim() })
      })
      answer.on('error', reject)
    })
    const timer = setTimeout(() => sent.destroy(new Error('no answer in time')), timeoutMs)
    sent.on('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    sent.end()
  })

if (import.meta.main) {
  const { targets, host, ratePerS, health } = JSON.parse(argv[2] ?? '{}') as BalancerWish
  const healthy = new Set(targets)
  const answers: Record<string, number> = {}
  const reasons: Record<string, number> = {}
  const takenOut: Record<string, number> = {}
  const add = (counts: Record<string, number>, key: string) => {
    counts[key] = (counts[key] ?? 0) + 1
  }
  const startedMs = performance.now()
  const failures: number[] = []
  let sent = 0
  let open = 0
  let stopped = false

  const check = async (target: string): Promise<void> => {
    let inARow = 0
    while (!stopped) {
      const good = await ask(target, '', health.path, health.timeoutS * 1000).then(
        ({ status }) => status >= 200 && status < 300,
        () => false,
      )
      inARow = good === healthy.has(target) ? 0 : inARow + 1
      if (inARow >= health.retries) {
        if (good) healthy.add(target)
        else {
          healthy.delete(target)
          add(takenOut, target)
        }
        inARow = 0
      }
      await Bun.sleep(health.intervalS * 1000)
    }
  }
  for (const target of targets) void check(target)

  const send = async (): Promise<void> => {
    const pool = targets.filter(target => healthy.has(target))
    const target = pool[sent % Math.max(1, pool.length)] ?? targets[0] ?? ''
    sent += 1
    open += 1
    const atMs = performance.now()
    try {
      const { status, text } = await ask(target, host, '/', REQUEST_TIMEOUT_MS)
      if (status !== 200) throw new Error(`status ${status}`)
      add(answers, text)
    } catch (error) {
      failures.push(atMs)
      add(reasons, `${target}: ${error instanceof Error ? error.message : String(error)}`)
    }
    open -= 1
  }
  stdin.on('end', () => {
    stopped = true
  })
  stdin.resume()
  stdout.write('ready\n')
  const everyMs = 1000 / ratePerS
  for (let n = 1; !stopped; n++) {
    void send()
    await Bun.sleep(Math.max(0, startedMs + n * everyMs - performance.now()))
  }
  const seconds = (performance.now() - startedMs) / 1000
  while (open > 0) await Bun.sleep(20)
  const report: BalancerReport = {
    sent,
    seconds,
    answers,
    failed: failures.length,
    reasons,
    failingMs: failures.length > 1 ? Math.max(...failures) - Math.min(...failures) : 0,
    takenOut,
  }
  stdout.write(`${JSON.stringify(report)}\n`)
  exit(0)
}
