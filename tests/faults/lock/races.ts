/** Two processes, one estate, one winner; many times over. */

import { join } from 'node:path'
import { startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { QUICK } from '../harness/theatre.ts'

interface Answer {
  readonly won?: boolean
  readonly ms?: number
  readonly code?: string
  readonly message?: string
}

export interface RaceReport {
  readonly races: number
  readonly wins: readonly [number, number]
  readonly slowestLoserMs: number
  readonly violations: readonly string[]
}

const openRacer = (env: Readonly<Record<string, string>>) => {
  const child = Bun.spawn([process.execPath, '--no-env-file', join(import.meta.dir, 'racer.ts')], {
    env: { PATH: process.env.PATH ?? '', ...env },
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const reader = child.stdout.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  const next = async (): Promise<Answer> => {
    for (;;) {
      const end = rest.indexOf('\n')
      if (end >= 0) {
        const line = rest.slice(0, end)
        rest = rest.slice(end + 1)
        return JSON.parse(line) as Answer
      }
      const { value, done } = await reader.read()
      if (done) throw new Error('a racer ended')
      rest += decoder.decode(value, { stream: true })
    }
  }
  return {
    async tell(line: string): Promise<Answer> {
      child.stdin.write(`${line}\n`)
      await child.stdin.flush()
      return next()
    },
    async close(): Promise<void> {
      child.stdin.end()
      await child.exited
    },
  }
}

/** @param chaos probability of a fault in each request of the lock */
export async function runRaces(
  races: number,
  chaos?: { readonly seed: number; readonly probability: number },
): Promise<RaceReport> {
  const sandbox = await startSandbox({ settings: QUICK })
  const env = { HCLOUD_ENDPOINT: sandbox.environment.HCLOUD_ENDPOINT ?? '', HCLOUD_TOKEN: sandbox.environment.HCLOUD_TOKEN ?? '' }
  // Half of the time on one machine, half of the time on two.
  const racers = [
    openRacer({ ...env, HOST_ID: 'desk' }),
    openRacer({ ...env, HOST_ID: 'desk' }),
    openRacer({ ...env, HOST_ID: 'sofa' }),
  ] as const
  const wins: [number, number] = [0, 0]
  const violations: string[] = []
  let slowestLoserMs = 0
  const lockName = 'landfall-lock-race'
  const isThere = () => sandbox.controls.hetzner.dump().firewalls.filter(each => each.name === lockName).length
  try {
    for (let race = 0; race < races; race++) {
      const pair = race % 2 === 0 ? ([racers[0], racers[1]] as const) : ([racers[0], racers[2]] as const)
      if (chaos) sandbox.settings.chaos = { ...chaos, seed: chaos.seed + race }
      const answers = await Promise.all(pair.map((racer, index) => racer.tell(`take run-${race}-${index}`)))
      delete sandbox.settings.chaos
      const winners = answers.filter(answer => answer.won)
      const losers = answers.filter(answer => !answer.won)
      const broken = losers.filter(answer => answer.code !== 'locked')
      if (winners.length > 1 || (winners.length === 0 && !chaos)) violations.push(`race ${race}: ${winners.length} winners`)
      if (broken.length > 0 && !chaos)
        violations.push(`race ${race}: the loser failed with ${broken[0]?.code}: ${broken[0]?.message}`)
      if (winners.length === 1 && isThere() !== 1) violations.push(`race ${race}: won, but ${isThere()} locks stand`)
      for (const { message = '', ms = 0 } of losers.filter(answer => answer.code === 'locked')) {
        slowestLoserMs = Math.max(slowestLoserMs, ms)
        if (!/@race|is just taking or leaving|changes hands/.test(message))
          violations.push(`race ${race}: the loser is not told who holds it: ${message}`)
      }
      answers.forEach((answer, index) => {
        if (answer.won) wins[index === 0 ? 0 : 1] += 1
      })
      for (const racer of pair) await racer.tell('release')
      if (isThere() !== 0 && !chaos) violations.push(`race ${race}: a lock was left behind`)
      // What a lost answer left standing is taken by whoever may; here the next race begins clean.
      if (chaos) sandbox.reset()
    }
    return { races, wins, slowestLoserMs, violations }
  } finally {
    for (const racer of racers) await racer.close()
    await sandbox.close()
  }
}
