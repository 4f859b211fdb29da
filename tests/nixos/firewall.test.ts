/**
 * The evaluated firewall with real iptables and real packets: one network namespace is the machine, with ports published as Docker
 * publishes them (DNAT to another port of a container), one is the container, one a container of another bridge, one the outside.
 */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { CAN_EVALUATE, createFlake, type Machine, WHY_NOT } from './evaluate.ts'

const TOOLS = ['ip', 'iptables', 'ip6tables', 'bash']
const canFilter = Boolean(process.env.CI) || (process.getuid?.() === 0 && TOOLS.every(tool => Bun.which(tool) !== null))

const OUTSIDE = { v4: '198.51.100.2', v6: '2001:db8:1::2' }
const HOST = { v4: '198.51.100.1', v6: '2001:db8:1::1' }
const CONTAINER = { v4: '172.20.0.2', v6: 'fd00:20::2' }
/** The host as a container of the other bridge sees it. */
const GATEWAY = { v4: '172.21.0.1', v6: 'fd00:21::1' }
const TRUSTED = '10.0.1.9'
const METADATA = '169.254.169.254'
/** Published port → port of the container: the rules see the second alone, unless they ask for the first. */
const PUBLISHED = { 80: 8080, 443: 8443, 3000: 8000, 4444: 8444 } as const

const SPACES = ['outside', 'host', 'container', 'stranger'] as const
type Space = (typeof SPACES)[number]
const tag = `lf-${process.pid}`
const nameOf = (space: Space): string => `${tag}-${space}`

const run = async (command: readonly string[], script?: string) => {
  const child = Bun.spawn([...command], { stdin: new Blob([script ?? '']), stdout: 'pipe', stderr: 'pipe' })
  const [out, wrong, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { out, wrong, code }
}
const within = (space: Space, script: string) => run(['ip', 'netns', 'exec', nameOf(space), 'bash', '-eu'], script)
const must = async (space: Space, script: string): Promise<string> => {
  const { out, wrong, code } = await within(space, script)
  if (code !== 0) throw new Error(`${script}\n${wrong}`)
  return out
}

/** Whether a connection comes about. */
const reaches = async (space: Space, address: string, port: number): Promise<boolean> =>
  (await within(space, `timeout 3 bash -c '</dev/tcp/${address}/${port}'`)).code === 0

const portsOpen = async (to: { readonly v4: string; readonly v6: string }) => {
  const ports = Object.keys(PUBLISHED).map(Number)
  const seen = async (address: string) => {
    const answers = await Promise.all(ports.map(port => reaches('outside', address, port)))
    return ports.filter((_, index) => answers[index])
  }
  const [v4, v6] = await Promise.all([seen(to.v4), seen(to.v6)])
  return { v4, v6 }
}

const LISTEN = `for (const port of [3000, ${Object.values(PUBLISHED).join()}]) Bun.listen({ hostname: '::', port, socket: { open: socket => { socket.end() }, data() {} } })
process.stdout.write('ready')`

const listen = (space: Space, program: string) =>
  Bun.spawn(['ip', 'netns', 'exec', nameOf(space), process.execPath, '-e', program], { stdout: 'pipe', stderr: 'inherit' })

describe.skipIf(!CAN_EVALUATE || !canFilter)(`the firewall of evaluated machines (${WHY_NOT}, root and iptables)`, () => {
  const flake = createFlake()
  const listeners: ReturnType<typeof listen>[] = []
  const commandsOf = async (machine: Machine, option: 'extraCommands' | 'extraStopCommands'): Promise<string> =>
    String(await flake.read(`nixosConfigurations.${machine}.definitions."networking.firewall.${option}"`))

  beforeAll(async () => {
    for (const space of SPACES) await run(['ip', 'netns', 'add', nameOf(space)])
    const link = (a: Space, b: Space, name: string, other: string) =>
      run(['ip', 'link', 'add', name, 'netns', nameOf(a), 'type', 'veth', 'peer', 'name', other, 'netns', nameOf(b)])
    await link('host', 'outside', 'eth0', 'wan0')
    await link('host', 'container', 'br-1', 'eth0')
    await link('host', 'stranger', 'br-2', 'eth0')
    await must(
      'host',
      `ip link set lo up; ip link set eth0 up; ip link set br-1 up; ip link set br-2 up
ip addr add ${HOST.v4}/24 dev eth0; ip -6 addr add ${HOST.v6}/64 dev eth0 nodad
ip addr add 172.20.0.1/24 dev br-1; ip -6 addr add fd00:20::1/64 dev br-1 nodad
ip addr add ${GATEWAY.v4}/24 dev br-2; ip -6 addr add ${GATEWAY.v6}/64 dev br-2 nodad
ip route add 10.0.0.0/16 dev eth0; ip route add ${METADATA}/32 dev eth0
echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
iptables -N nixos-fw; iptables -N nixos-fw-accept
${['iptables', 'ip6tables']
  .map(
    family => `${family} -N DOCKER-USER; ${family} -A FORWARD -j DOCKER-USER
${Object.entries(PUBLISHED)
  .map(([port, target]) => {
    const container = family === 'iptables' ? CONTAINER.v4 : `[${CONTAINER.v6}]`
    return `${family} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport ${port} -j DNAT --to-destination ${container}:${target}`
  })
  .join('\n')}`,
  )
  .join('\n')}`,
    )
    await must(
      'outside',
      `ip link set lo up; ip link set wan0 up
for address in ${OUTSIDE.v4}/24 ${TRUSTED}/32 ${METADATA}/32; do ip addr add $address dev wan0; done
ip -6 addr add ${OUTSIDE.v6}/64 dev wan0 nodad
ip route add default via ${HOST.v4}; ip -6 route add default via ${HOST.v6}`,
    )
    await must(
      'container',
      `ip link set lo up; ip link set eth0 up
ip addr add ${CONTAINER.v4}/24 dev eth0; ip -6 addr add ${CONTAINER.v6}/64 dev eth0 nodad
ip route add default via 172.20.0.1; ip -6 route add default via fd00:20::1`,
    )
    await must(
      'stranger',
      `ip link set lo up; ip link set eth0 up
ip addr add 172.21.0.2/24 dev eth0; ip -6 addr add fd00:21::2/64 dev eth0 nodad
ip route add default via ${GATEWAY.v4}; ip -6 route add default via ${GATEWAY.v6}`,
    )
    for (const space of ['container', 'outside'] as const) listeners.push(listen(space, `${LISTEN}; setInterval(() => {}, 1000)`))
    for (const { stdout } of listeners) await stdout.getReader().read()
  }, 60_000)

  afterAll(async () => {
    for (const listener of listeners) {
      listener.kill()
      await listener.exited
    }
    for (const space of SPACES) await run(['ip', 'netns', 'del', nameOf(space)])
    flake.remove()
  })

  const rules = () => must('host', 'iptables -S; ip6tables -S')
  const everything = { v4: [80, 443, 3000, 4444], v6: [80, 443, 3000, 4444] }

  for (const [machine, open] of [
    ['golden', [80, 443]],
    ['backend-hetzner', [80, 443, 4444]],
  ] as const)
    test(`${machine}: of what Docker publishes, ${open.join(', ')} are reached and the panel is not, by either family`, async () => {
      expect(await portsOpen(HOST)).toEqual(everything)
      const start = await commandsOf(machine, 'extraCommands')
      await must('host', start)
      expect(await portsOpen(HOST)).toEqual({ v4: [...open], v6: [...open] })

      const once = await rules()
      const stranger = within(
        'outside',
        `end=$((SECONDS + 4)); hits=0; tries=0
while [ $SECONDS -lt $end ]; do tries=$((tries + 1)); timeout .05 bash -c '</dev/tcp/${HOST.v4}/3000' 2>/dev/null && hits=$((hits + 1)); done
echo "$hits of $((tries > 20))"`,
      )
      const end = Date.now() + 4_000
      let reloads = 0
      for (; Date.now() < end; reloads++) await must('host', start)
      expect((await stranger).out.trim()).toBe('0 of 1')
      expect(reloads).toBeGreaterThan(10)
      expect(await rules()).toBe(once)

      // What a container asks for itself comes back to it, but for the metadata service, which the machine alone reaches.
      expect(await reaches('container', OUTSIDE.v4, 8080)).toBe(true)
      expect(await reaches('container', OUTSIDE.v6, 8080)).toBe(true)
      expect(await reaches('container', METADATA, 8080)).toBe(false)
      expect(await reaches('host', METADATA, 8080)).toBe(true)

      await must('host', await commandsOf(machine, 'extraStopCommands'))
      expect(await portsOpen(HOST)).toEqual(everything)
      await must('host', 'iptables -F DOCKER-USER; ip6tables -F DOCKER-USER')
    }, 60_000)

  test('golden: a container does not reach the panel through the host, which has no owner where nobody wanted Dokploy', async () => {
    const published = async () => ({
      v4: [await reaches('stranger', GATEWAY.v4, 80), await reaches('stranger', GATEWAY.v4, 3000)],
      v6: [await reaches('stranger', GATEWAY.v6, 80), await reaches('stranger', GATEWAY.v6, 3000)],
    })
    expect(await published()).toEqual({ v4: [true, true], v6: [true, true] })
    await must('host', await commandsOf('golden', 'extraCommands'))
    expect(await published()).toEqual({ v4: [true, false], v6: [true, false] })
    // What containers have on that port themselves is theirs.
    expect(await reaches('stranger', CONTAINER.v4, 3000)).toBe(true)
    expect(await reaches('stranger', CONTAINER.v6, 3000)).toBe(true)
    await must('host', await commandsOf('golden', 'extraStopCommands'))
    expect(await published()).toEqual({ v4: [true, true], v6: [true, true] })
    await must('host', 'iptables -F DOCKER-USER; ip6tables -F DOCKER-USER')
  }, 60_000)

  test('cluster-node: the private network reaches every port, and nobody else', async () => {
    await must('host', await commandsOf('cluster-node', 'extraCommands'))
    expect(await portsOpen(HOST)).toEqual({ v4: [80, 443], v6: [80, 443] })
    await must('outside', `ip route replace ${HOST.v4}/32 dev wan0 src ${TRUSTED}`)
    expect(await portsOpen(HOST)).toEqual({ v4: everything.v4, v6: [80, 443] })
  }, 60_000)
})
