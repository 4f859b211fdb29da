/**
 * The same kills and lost answers for other tools: `bun tests/faults/compare.ts`. Each tool makes two servers behind a firewall, is cut
 * once at each of its own writes, is run again as its user would, and takes everything away at the end.
 */

import { readdirSync, readFileSync } from 'node:fs'
import type { FaultRule } from '../../lib/sandbox/kit.ts'
import { TOOLS, type Tool } from './compare/tools.ts'
import { openTheatre, type Theatre } from './harness/theatre.ts'

type Cut = 'killed before its effect' | 'killed before its answer' | 'answer lost' | 'create fails after its answer'
const CUTS: readonly Cut[] = [
  'killed before its effect',
  'killed before its answer',
  'answer lost',
  'create fails after its answer',
]

interface Tally {
  trials: number
  /** The same command again ends in a failure: somebody has to repair by hand. */
  stuck: number
  /** Objects more than wanted, after the rerun. */
  duplicates: number
  /** The rerun says success, and something of the wanted is missing or not in force. */
  unfinished: number
  /** What is left after taking everything away. */
  orphans: number
}

const LIMIT_MS = 60_000

const parentOf = (pid: string): string | undefined => {
  try {
    return /\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined
    throw error
  }
}

/** A tool may be many processes: all that `pid` has started, and itself. */
const killTree = (pid: number): void => {
  const pids = readdirSync('/proc').filter(entry => /^\d+$/.test(entry))
  const doomed = new Set([String(pid)])
  for (let grown = -1; grown !== doomed.size; ) {
    grown = doomed.size
    for (const each of pids) {
      const parent = parentOf(each)
      if (parent !== undefined && doomed.has(parent)) doomed.add(each)
    }
  }
  for (const each of doomed) {
    try {
      process.kill(Number(each), 'SIGKILL')
    } catch (error) {
      // It has ended by itself meanwhile.
      if (!(error instanceof Error && 'code' in error)) throw error
    }
  }
}

const isWrite = (method: string): boolean => method !== 'GET' && method !== 'HEAD'

const begin = (words: readonly string[], theatre: Theatre, env: Readonly<Record<string, string>>) => {
  const child = Bun.spawn([...words], { cwd: theatre.cwd, env: { ...env }, stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' })
  const timer = setTimeout(() => killTree(child.pid), LIMIT_MS)
  return { pid: child.pid, ended: child.exited.finally(() => clearTimeout(timer)) }
}

const WANTED = { servers: ['dev-dokploy', 'prod-dokploy'] }

const estateOf = ({ sandbox }: Theatre) => {
  const { servers, firewalls, keys, ips } = sandbox.controls.hetzner.dump()
  const ours = <T extends { readonly labels: Readonly<Record<string, string>> }>(rows: readonly T[]): T[] =>
    rows.filter(({ labels }) => labels['landfall/estate'] === 'example')
  return {
    servers: ours(servers),
    firewalls: ours(firewalls),
    keys: ours(keys),
    loose: ips.filter(ip => ip.assignee === null && ip.name.startsWith('primary_ip-')),
    all: firewalls,
  }
}

const isFinished = (theatre: Theatre): boolean => {
  const { servers, firewalls } = estateOf(theatre)
  return WANTED.servers.every(name => {
    const server = servers.find(each => each.name === name)
    const guarded = firewalls.some(wall => wall.attachments.some(at => at.server === server?.id && at.state === 'applied'))
    return server?.status === 'running' && guarded
  })
}

/** What a tool writes, in order, as rules that hit exactly that write. */
const writesOf = async (tool: Tool): Promise<readonly FaultRule[] | undefined> => {
  const theatre = await openTheatre()
  try {
    const { up, env } = tool.prepare(theatre)
    const counts = new Map<string, number>()
    const rules: FaultRule[] = []
    theatre.hooks = {
      beforeEffect({ method, path }) {
        if (!isWrite(method)) return
        const pattern = `^${path.replace(/\d{5,}/g, '\\d+')}$`
        const count = (counts.get(`${method} ${pattern}`) ?? 0) + 1
        counts.set(`${method} ${pattern}`, count)
        rules.push({ vendor: 'hetzner', method, path: pattern, nth: [count], effect: { kind: 'lost_answer' } })
      },
    }
    const code = await begin(up, theatre, env).ended
    return code === 0 && isFinished(theatre) ? rules : undefined
  } finally {
    await theatre.close()
  }
}

const tryCut = async (tool: Tool, nth: number, rule: FaultRule, cut: Cut, tally: Tally): Promise<void> => {
  const theatre = await openTheatre()
  try {
    const { up, down, env } = tool.prepare(theatre)
    let writes = 0
    let pid = 0
    const kill = async ({ method }: { method: string }): Promise<void> => {
      if (!isWrite(method)) return
      writes += 1
      if (writes !== nth) return
      killTree(pid)
      if (cut === 'killed before its effect') await new Promise(() => undefined)
    }
    if (cut === 'create fails after its answer') {
      theatre.hooks = {
        beforeEffect({ method }) {
          if (!isWrite(method)) return
          writes += 1
          if (writes === nth) theatre.sandbox.controls.hetzner.failNext('create_server', 'unknown_error')
        },
      }
    } else if (cut === 'answer lost') theatre.sandbox.settings.faults = [rule]
    else theatre.hooks = cut === 'killed before its effect' ? { beforeEffect: kill } : { afterEffect: kill }
    const first = begin(up, theatre, env)
    pid = first.pid
    await first.ended
    theatre.hooks = {}
    theatre.sandbox.settings.faults = []
    const again = await begin(up, theatre, env).ended
    while (theatre.sandbox.controls.hetzner.nextEventAtMs() !== undefined) {
      await Bun.sleep(5)
      theatre.sandbox.controls.hetzner.settle()
    }
    const { servers, firewalls, keys } = estateOf(theatre)
    tally.trials += 1
    if (again !== 0) tally.stuck += 1
    else if (!isFinished(theatre)) tally.unfinished += 1
    tally.duplicates += Math.max(0, servers.length - 2) + Math.max(0, keys.length - 1) + doubles(firewalls.map(each => each.name))
    await begin(down, theatre, env).ended
    const left = estateOf(theatre)
    const locks = left.all.filter(each => each.name === 'landfall-lock-example').length
    tally.orphans += left.servers.length + left.firewalls.length + left.keys.length + left.loose.length + locks
  } finally {
    await theatre.close()
  }
}

const doubles = (names: readonly string[]): number => names.length - new Set(names).size

if (import.meta.main) {
  const say = (line: string): void => void process.stdout.write(`${line}\n`)
  const table: Record<string, string | number>[] = []
  for (const tool of TOOLS) {
    if (tool.version === undefined) {
      say(`${tool.name}: not installed here`)
      continue
    }
    await tool.install?.()
    const writes = await writesOf(tool)
    if (writes === undefined) throw new Error(`${tool.name} (${tool.version}) fails here undisturbed`)
    for (const cut of CUTS) {
      const tally: Tally = { trials: 0, stuck: 0, duplicates: 0, unfinished: 0, orphans: 0 }
      for (const [index, rule] of writes.entries())
        if (cut !== 'create fails after its answer' || rule.path === '^/servers$') await tryCut(tool, index + 1, rule, cut, tally)
      table.push({ tool: tool.name, cut, ...tally })
      say(JSON.stringify({ tool: tool.name, version: tool.version, cut, ...tally }))
    }
  }
  say('')
  say('| tool | cut | trials | stuck | unfinished | duplicates | orphans |')
  say('|---|---|---|---|---|---|---|')
  for (const row of table)
    say(`| ${row.tool} | ${row.cut} | ${row.trials} | ${row.stuck} | ${row.unfinished} | ${row.duplicates} | ${row.orphans} |`)
  process.exit(0)
}
