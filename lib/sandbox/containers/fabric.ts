/**
 * The network that container machines live in: two network namespaces of this run. One is the router, with a cable to each machine,
 * the cloud's firewall between them, and the metadata address; the other is everybody outside, each under an own source address. This
 * computer's own network has no part in it, so every run can use the same addresses.
 */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { LandfallError } from '../../errors.ts'
import { run, tryRun } from './commands.ts'
import { AUTHORITY_ADDRESS, METADATA_ADDRESS } from './firewall.ts'
import { ownerLives, ownerOf } from './owners.ts'
import type { PrivateCable } from './places.ts'

export interface Cable {
  /** The router's end. */
  readonly link: string
  /** A process inside the machine. */
  readonly pid: number
  readonly ipv4?: string | undefined
  /** The machine's own address of its /64. */
  readonly ipv6?: string | undefined
}

export type Reached = { readonly state: 'open'; readonly socket: Socket } | { readonly state: 'closed' | 'silent' }

export interface Fabric {
  /** Names this run in labels and namespaces. */
  readonly run: string
  /** The namespaces, for `ip netns exec`. */
  readonly namespaces: { readonly router: string; readonly outside: string }
  /** Files of this run. */
  readonly directory: string
  /** Connects a machine that waits for its network. */
  plug(cable: Cable): Promise<void>
  /** Makes these the machine's private networks. The cloud's firewall does not stand between them, as at Hetzner. */
  plugPrivate(serverId: string, pid: number, cables: readonly PrivateCable[]): Promise<void>
  loadFirewall(ruleset: string): Promise<void>
  /** Leads a port of the router to a socket file here. */
  lead(port: number, file: string): Promise<void>
  unlead(port: number): Promise<void>
  /** A TCP connection from an address outside, judged by the real firewall. Silence is what `timeoutMs` brought no answer to. */
  reach(source: string, address: string, port: number, timeoutMs: number): Promise<Reached>
  close(): Promise<void>
}

/** As at Hetzner: the gateway is the same for every server, outside of its own network. */
const GATEWAY_IPV4 = '172.31.1.1'
const GATEWAY_IPV6 = 'fe80::1'
const OUTSIDE_IPV4 = '172.31.2.1'
const OUTSIDE_IPV6 = 'fe80::2'

const RUNS = '/run/landfall-machines'

/** Runs on this computer whose process lives. */
export const liveRuns = (): string[] => (existsSync(RUNS) ? readdirSync(RUNS).filter(name => !isLeftOver(name)) : [])

/** Whether a run's process is gone. */
export const isLeftOver = (name: string): boolean => {
  const file = join(RUNS, name, 'owner')
  return !existsSync(file) || !ownerLives(readFileSync(file, 'utf8'))
}

const removeRun = async (name: string): Promise<void> => {
  for (const namespace of Object.values(namespacesOf(name)))
    if (existsSync(`/run/netns/${namespace}`)) await run(['ip', 'netns', 'delete', namespace])
  rmSync(join(RUNS, name), { recursive: true, force: true })
}

const namespacesOf = (name: string) => ({ router: `landfall-${name}-router`, outside: `landfall-${name}-outside` })

export const openFabric = async (): Promise<Fabric> => {
  const name = randomBytes(4).toString('hex')
  const directory = join(RUNS, name)
  const namespaces = namespacesOf(name)
  const { router, outside } = namespaces
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  writeFileSync(join(directory, 'owner'), ownerOf(process.pid))
  const closers: (() => unknown)[] = [() => removeRun(name)]
  const close = async (): Promise<void> => {
    for (const step of closers.splice(0).reverse()) await step()
  }
  try {
    for (const namespace of [router, outside]) await run(['ip', 'netns', 'add', namespace])
    await layOut(router, outside)
    const socketFile = join(directory, 'outside.sock')
    const outsideGate = await startGate(outside, [socketFile])
    closers.push(outsideGate.close)
    const routerGate = await startGate(router, [])
    closers.push(routerGate.close)
    const sources = new Map<string, Promise<void>>()

    return {
      run: name,
      namespaces,
      directory,
      plug: cable => plug(router, cable),
      plugPrivate: (serverId, pid, cables) => plugPrivate(router, { serverId, pid, cables }),
      loadFirewall: async ruleset => {
        await run(['ip', 'netns', 'exec', router, 'nft', '-f', '-'], { input: ruleset })
      },
      lead: (port, file) => routerGate.order(`listen ${port} ${file}`),
      unlead: port => routerGate.order(`close ${port}`),
      async reach(source, address, port, timeoutMs) {
        const known = sources.get(source) ?? settle(router, outside, source)
        sources.set(source, known)
        await known
        return reachThrough(socketFile, `${address} ${port} ${source} ${timeoutMs}`)
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

const ip = (namespace: string, lines: readonly string[]): Promise<string> =>
  run(['ip', '-netns', namespace, '-batch', '-'], { input: lines.map(line => `${line}\n`).join('') })

const layOut = async (router: string, outside: string): Promise<void> => {
  const settings = (namespace: string, values: Readonly<Record<string, number>>) =>
    run([
      'ip',
      'netns',
      'exec',
      namespace,
      'sysctl',
      '-q',
      '-e',
      ...Object.entries(values).map(([key, value]) => `${key}=${value}`),
    ])
  await settings(router, {
    'net.ipv4.ip_forward': 1,
    'net.ipv6.conf.all.forwarding': 1,
    // A machine can't send under another's address.
    'net.ipv4.conf.all.rp_filter': 1,
    'net.ipv4.conf.default.rp_filter': 1,
    'net.ipv6.conf.default.accept_dad': 0,
    'net.ipv6.conf.default.accept_ra': 0,
    // Private networks are not filtered.
    'net.bridge.bridge-nf-call-iptables': 0,
    'net.bridge.bridge-nf-call-ip6tables': 0,
  })
  await settings(outside, { 'net.ipv6.conf.default.accept_dad': 0, 'net.ipv6.conf.default.accept_ra': 0 })
  await ip(router, [
    'link set lo up',
    `link add outside type veth peer name router netns ${outside}`,
    `address add ${GATEWAY_IPV4}/32 dev outside`,
    `address add ${GATEWAY_IPV6}/64 dev outside nodad`,
    'link set outside up',
    `route add ${OUTSIDE_IPV4}/32 dev outside`,
    // The router answers for these itself, on every cable; see the firewall's redirect.
    `address add ${METADATA_ADDRESS}/32 dev lo`,
    `address add ${AUTHORITY_ADDRESS}/32 dev lo`,
  ])
  await ip(outside, [
    'link set lo up',
    `address add ${OUTSIDE_IPV4}/32 dev router`,
    `address add ${OUTSIDE_IPV6}/64 dev router nodad`,
    'link set router up',
    `route add ${GATEWAY_IPV4}/32 dev router`,
    `route add default via ${GATEWAY_IPV4} dev router`,
    `route add default via ${GATEWAY_IPV6} dev router`,
  ])
}

/** Gives an address to somebody outside. Whatever has none is unreachable, and the router says so at once. */
const settle = async (router: string, outside: string, source: string): Promise<void> => {
  const isIpv6 = source.includes(':')
  await ip(outside, [`address add ${source}/${isIpv6 ? '128' : '32'} dev lo${isIpv6 ? ' nodad' : ''}`])
  await ip(router, [
    isIpv6 ? `route add ${source}/128 via ${OUTSIDE_IPV6} dev outside` : `route add ${source}/32 via ${OUTSIDE_IPV4} dev outside`,
  ])
}

const enter = (pid: number, words: readonly string[], lines: readonly string[] = []): Promise<string> =>
  run(['nsenter', '--target', String(pid), '--net', ...words], { input: lines.map(line => `${line}\n`).join('') })

const PRIVATE_LINKS = [7, 8, 9]

const plugPrivate = async (
  router: string,
  { serverId, pid, cables }: { serverId: string; pid: number; cables: readonly PrivateCable[] },
): Promise<void> => {
  for (const [index, slot] of PRIVATE_LINKS.entries()) {
    const link = `p${slot}-${serverId}`
    await tryRun(['ip', '-netns', router, 'link', 'delete', link])
    const cable = cables[index]
    if (!cable) continue
    const bridge = `n${cable.network}`
    // One bridge for each network; a second one of the same name is refused, and that is what is wanted.
    await tryRun(['ip', '-netns', router, 'link', 'add', bridge, 'type', 'bridge'])
    const name = `enp${slot}s0`
    await ip(router, [
      `link set ${bridge} up`,
      `link add ${link} type veth peer name ${name} netns ${pid}`,
      `link set ${link} master ${bridge} up`,
    ])
    const prefix = cable.range.split('/')[1] ?? '16'
    await enter(pid, ['ip', '-batch', '-'], [`address add ${cable.ip}/${prefix} dev ${name}`, `link set ${name} up`])
  }
}

const plug = async (router: string, { link, pid, ipv4, ipv6 }: Cable): Promise<void> => {
  // What a cable that was cut halfway left; usually there is none.
  await tryRun(['ip', '-netns', router, 'link', 'delete', link])
  // Docker turns IPv6 off where it has no network of its own.
  await enter(pid, ['sysctl', '-q', ...['all', 'default'].map(name => `net.ipv6.conf.${name}.disable_ipv6=0`)])
  await ip(router, [
    `link add ${link} type veth peer name eth0 netns ${pid}`,
    `address add ${GATEWAY_IPV4}/32 dev ${link}`,
    `address add ${GATEWAY_IPV6}/64 dev ${link} nodad`,
    `link set ${link} up`,
    ...(ipv4 === undefined ? [] : [`route add ${ipv4}/32 dev ${link}`]),
    ...(ipv6 === undefined ? [] : [`route add ${networkOf(ipv6)} dev ${link}`]),
  ])
  const lines = [
    'link set lo up',
    'link set eth0 up',
    // Without a public IPv4 the metadata are reached from a link-local address, as the vendor's DHCP gives one.
    `address add ${ipv4 ?? '169.254.0.1'}/32 dev eth0`,
    `route add ${GATEWAY_IPV4}/32 dev eth0`,
    ...(ipv4 === undefined
      ? [`route add ${METADATA_ADDRESS}/32 via ${GATEWAY_IPV4} dev eth0`]
      : [`route add default via ${GATEWAY_IPV4} dev eth0`]),
    ...(ipv6 === undefined ? [] : [`address add ${ipv6}/64 dev eth0 nodad`, `route add default via ${GATEWAY_IPV6} dev eth0`]),
    // What the machine's first process waits for.
    'link set eth0 alias ready',
  ]
  await enter(pid, ['ip', '-batch', '-'], lines)
  if (ipv4 === undefined) await ip(router, [`route add 169.254.0.1/32 dev ${link}`])
}

/** The /64 of an address whose last 64 bits are written behind `::`. */
const networkOf = (ipv6: string): string => `${ipv6.slice(0, ipv6.indexOf('::'))}::/64`

interface Gate {
  order(line: string): Promise<void>
  close(): Promise<void>
}

const startGate = async (namespace: string, args: readonly string[]): Promise<Gate> => {
  const program = fileURLToPath(import.meta.resolve('./gate.ts'))
  // Started without the settings files of a directory, which could run code of somebody else.
  const bun = [execPath, '--config=/dev/null', '--no-env-file', program, ...args]
  const child: ChildProcessWithoutNullStreams = spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', ...bun], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const complaints: string[] = []
  child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString()))
  child.stdin.on('error', error => complaints.push(error.message))
  const waiting: { resolve(): void; reject(error: Error): void }[] = []
  const failed = (said: string) => new LandfallError('network', `The gate into ${namespace} failed: ${said}`)
  createInterface({ input: child.stdout }).on('line', line => {
    const next = waiting.shift()
    if (line === 'ok' || line === 'ready') next?.resolve()
    else next?.reject(failed(line))
  })
  const ended = new Promise<void>(resolve =>
    child.once('close', () => {
      for (const one of waiting.splice(0)) one.reject(failed(complaints.join('') || 'it ended'))
      resolve()
    }),
  )
  child.once('error', error => complaints.push(error.message))
  const answer = () => new Promise<void>((resolve, reject) => waiting.push({ resolve, reject }))
  await answer()
  // It lives as long as this process, but does not keep it.
  child.unref()
  return {
    order(line) {
      const answered = answer()
      child.stdin.write(`${line}\n`)
      return answered
    },
    async close() {
      child.stdin.end()
      await ended
    },
  }
}

const reachThrough = (file: string, wish: string): Promise<Reached> =>
  new Promise((resolve, reject) => {
    const socket = connect({ path: file, allowHalfOpen: true }, () => socket.write(`${wish}\n`))
    let head = Buffer.alloc(0)
    const onData = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk])
      const end = head.indexOf(0x0a)
      if (end < 0) return
      const word = head.toString('utf8', 0, end)
      socket.off('data', onData).off('error', reject).off('close', onClose)
      if (word !== 'open') {
        socket.destroy()
        resolve({ state: word === 'closed' ? 'closed' : 'silent' })
        return
      }
      socket.pause()
      if (head.length > end + 1) socket.unshift(head.subarray(end + 1))
      resolve({ state: 'open', socket })
    }
    const onClose = () => resolve({ state: 'silent' })
    socket.on('data', onData).on('error', reject).on('close', onClose)
  })

/** Namespaces and files of every run whose process is gone; its helpers ended with it, because their stdin did. */
export const removeDeadRuns = async (): Promise<void> => {
  const names = existsSync(RUNS) ? readdirSync(RUNS) : []
  for (const name of names) if (isLeftOver(name)) await removeRun(name)
}
