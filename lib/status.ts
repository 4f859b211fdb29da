/** Parts of the status that are no step: who holds the lock, what an earlier run left, what runs on one machine. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from './engine/files.ts'
import { openJournal } from './engine/journal.ts'
import { coming } from './engine/plan.ts'
import { World } from './engine/world.ts'
import { LandfallError } from './errors.ts'
import type { Opened, Session } from './script.ts'
import type { EstateStep } from './steps/deps.ts'
import { runProgram, targetOf } from './steps/machine.ts'
import { findServer } from './steps/server.ts'
import type { EstateWorld } from './steps/world.ts'
import { wrap } from './ui/wrap.ts'

const WIDTH = 80

/** One line each about the lock and about the last run, where there is something to say. */
export async function showStatus(
  { reporter, clean, version }: Session,
  { composition, estate, directory }: Opened,
): Promise<void> {
  const { deps, locks, runId } = composition
  const [lock, journal] = await Promise.all([
    locks.find(estate.name),
    openJournal(directory, { clock: deps.clock, runId, command: 'status', who: '', version, clean }),
  ])
  if (lock) {
    const agoS = Math.max(0, Math.round((lock.nowMs - lock.holder.beatAtMs) / 1000))
    reporter.warning(`${lock.holder.who} is running "${lock.holder.command}" now (last sign of life ${agoS} s ago).`)
  }
  const last = journal.lastRun()
  if (last)
    reporter.log(`last run: ${last.command}, ${last.at.slice(0, 16).replace('T', ' ')}, ${last.outcome}, ${last.applied} changes`)
  for (const intent of journal.unfinished())
    reporter.warning(
      `An earlier run was cut short while it was to "${intent.summary}": run the same command again, it looks first.`,
    )
}

async function findTarget({ estate, composition }: Opened, name: string) {
  const world = new World(composition.readers)
  await world.look(['servers'])
  const server = findServer(estate.name, name, world.get('servers'))
  const target = server && targetOf(estate.name, server)
  if (target) return target
  throw new LandfallError('usage', `The estate has no running server called "${name}".`, {
    hint: `It wants: ${estate.servers.map(spec => spec.name).join(', ')}.`,
  })
}

/** What runs on one machine, as it says itself. */
export async function inspectMachine(session: Session, opened: Opened, name: string): Promise<number> {
  const target = await findTarget(opened, name)
  const [facts, inspection] = await Promise.all([
    runProgram(opened.composition.deps, target, 'facts'),
    runProgram(opened.composition.deps, target, 'inspect'),
  ])
  const readable = inspection
    .split('\n')
    .map(line => {
      const [key = '', encoded] = line.split(' ')
      return key.endsWith('_error') || key === 'log' ? `${key} ${Buffer.from(encoded ?? '', 'base64').toString('utf8')}` : line
    })
    .join('\n')
  session.reporter.page(`${facts.trim()}\n\n${readable.trim()}`, { machine: name, facts: facts.trim().split('\n') })
  return 0
}

/** The ssh command line for each machine; `ssh` itself then checks the same pin as we do. */
export async function showSshCommands(session: Session, { estate, composition, directory, simulated }: Opened): Promise<number> {
  const world = new World(composition.readers)
  await world.look(['servers'])
  const targets = estate.servers.flatMap(spec => {
    const server = findServer(estate.name, spec.name, world.get('servers'))
    return (server && targetOf(estate.name, server)) ?? []
  })
  const pins = join(directory, 'pins')
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  await writeFileAtomic(pins, targets.map(target => `${target.hostKeyAlias} ${target.hostKey}\n`).join(''))
  for (const { name, hostKeyAlias, user, address } of targets) {
    const command = `ssh -o UserKnownHostsFile=${pins} -o HostKeyAlias=${hostKeyAlias} -o StrictHostKeyChecking=yes ${user}@${address}`
    session.reporter.page(`${name}\n  ${command}`, { server: name, command })
  }
  if (simulated.length > 0) session.reporter.log('These addresses exist in the sandbox only.')
  return 0
}

/** Every fact of the estate, one line each, as the look found it. */
export function showFindings(reporter: Session['reporter'], steps: readonly EstateStep[], world: World<EstateWorld>): void {
  const marks = { done: '✓', todo: '~', blocked: '…', refused: '✗' }
  for (const step of steps) {
    const finding = step.look(world)
    const words =
      finding.state === 'done'
        ? finding.detail
        : finding.state === 'refused'
          ? finding.why
          : coming(finding)
              .map(each => each.summary)
              .join('; ')
    reporter.page(wrap(`${step.title}${words ? ` — ${words}` : ''}`, WIDTH, `${marks[finding.state]} `).join('\n'), {
      fact: step.id,
      state: finding.state,
      detail: words,
    })
  }
}
