/** Starts visitors and reads what they met. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSelfSigned } from '../../../lib/sandbox/ca.ts'
import { firstHost } from '../../../lib/sandbox/machines/state.ts'
import type { Sandbox } from '../../../lib/sandbox/sandbox.ts'
import { startPebble } from '../../contract/pebble.ts'
import { closePlaces } from '../scripts/run.ts'
import type { Orders } from './load-client.ts'
import { type Counts, NOTHING } from './load-counts.ts'
import { APEX, API, type MovingPlace, NAMES, OLD, openMovingPlace } from './place.ts'
import { PAGE, startCaddy, startNginx, type WebServer } from './web.ts'

export interface Load {
  /** What was met so far. */
  counts(): Counts
  /** Resolves when this many more were sent. */
  more(requests: number): Promise<void>
  stop(): Promise<Counts>
}

export const startLoad = (sandbox: Sandbox, options: Pick<Orders, 'caPem' | 'sites' | 'ratePerS' | 'clients'>): Load => {
  const orders: Orders = {
    ...options,
    timeUrl: `http://127.0.0.1:${sandbox.ports.internet}/_sandbox/time`,
    authorityPort: sandbox.ports.authority,
    resolverPort: sandbox.ports.resolver,
    names: NAMES,
    path: PAGE,
  }
  const child = Bun.spawn([process.execPath, new URL('load-client.ts', import.meta.url).pathname, JSON.stringify(orders)], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  let last = NOTHING
  const reading = (async () => {
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true })
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      const line = lines.at(-1)
      if (line) last = JSON.parse(line)
    }
  })()
  return {
    counts: () => last,
    async more(requests) {
      const until = last.sent + requests
      const endsAtMs = performance.now() + 60_000
      while (last.sent < until) {
        if (performance.now() > endsAtMs) throw new Error(`only ${last.sent} of ${until} requests were sent in a minute`)
        await Bun.sleep(50)
      }
    },
    async stop() {
      child.stdin.end()
      await child.exited
      await reading
      return last
    },
  }
}

export interface LoadPlace {
  readonly place: MovingPlace
  /** For scripts: the real authority, and what is trusted. */
  readonly env: Readonly<Record<string, string>>
  /** For visitors. */
  readonly caPem: string
  readonly sites: Readonly<Record<string, number>>
  readonly oldHost: WebServer
  close(): Promise<void>
}

const OLD_ADDRESSES = [OLD.ipv4, OLD.ipv6, '192.0.2.81']

/** A moving estate whose old and new web servers are real ones, with certificates from a real authority. */
export const openLoadPlace = async (): Promise<LoadPlace> => {
  const closers: (() => unknown)[] = [closePlaces]
  const close = async () => {
    for (const step of closers.splice(0).reverse()) await step()
  }
  try {
    return { ...(await openWith(closers)), close }
  } catch (error) {
    await close()
    throw error
  }
}

const openWith = async (closers: (() => unknown)[]): Promise<Omit<LoadPlace, 'close'>> => {
  const place = await openMovingPlace()
  closers.push(place.old.close)
  const { sandbox } = place
  const { hetzner, machines, sites, cloudflare } = sandbox.controls
  // Slow enough that visitors come by while answers grow old.
  sandbox.settings.waitMs = 1_000
  // The authority calls itself so, and the preflight holds it against the zone's CAA records.
  const caa = { flags: 0, tag: 'issue', value: 'pebble.letsencrypt.org' }
  cloudflare.addRecord(APEX, { type: 'CAA', name: APEX, data: caa, ttl: 300 })
  const pebble = await startPebble(sandbox.ports.resolver)
  closers.push(pebble.stop)
  const oldHost = await startCaddy(place.old.certificate)
  closers.push(oldHost.close)
  const served: Record<string, number> = {}
  const lead = (address: string, web: WebServer) => {
    sites.set(address, 80, web.http)
    sites.set(address, 443, web.https)
    served[address] = web.https
  }
  for (const address of OLD_ADDRESSES) lead(address, oldHost)

  // As Traefik does, each begins with a certificate of its own that nobody trusts.
  const untrusted = await createSelfSigned('DEFAULT CERT', ['unknown.default'])
  const servers = await Promise.all(
    hetzner.serversForMachines().map(async ({ name, ipv4, ipv6 }) => {
      const web = await startNginx(untrusted)
      closers.push(web.close)
      for (const address of [ipv4, firstHost(ipv6)]) if (address !== undefined) lead(address, web)
      return { name, web, shown: '' }
    }),
  )
  // Shows what Dokploy was given, as Traefik does the moment its files change.
  const bugs: unknown[] = []
  const agent = setInterval(() => {
    for (const server of servers) {
      const given = machines.dokploy(server.name).givenCertificate(server.name.startsWith('backend') ? API : APEX)
      if (!given || server.shown === given.cert) continue
      server.shown = given.cert
      server.web.show(given).catch(error => bugs.push(error))
    }
  }, 20)
  closers.push(() => {
    clearInterval(agent)
    if (bugs.length > 0) throw new Error(`a web server did not reload: ${bugs.map(String).join('; ')}`)
  })

  const roots = [
    readFileSync(sandbox.environment.LANDFALL_CA_FILE ?? '', 'utf8'),
    pebble.caPem,
    await pebble.readRoot(),
    place.old.ca,
  ]
  const caPem = roots.join('\n')
  const caFile = join(place.cwd, 'roots.pem')
  writeFileSync(caFile, caPem)
  return {
    place,
    env: { ACME_DIRECTORY_URL: pebble.directory, LANDFALL_CA_FILE: caFile },
    caPem,
    sites: served,
    oldHost,
  }
}

/** As long as answers of the new place live, in small steps, while visitors come. */
export const outliveAnswers = async ({ sandbox }: MovingPlace): Promise<void> => {
  for (let i = 0; i < 60; i++) {
    sandbox.controls.dns.advanceMs(5_500)
    await Bun.sleep(20)
  }
}

/** For a line: what was met, at which rate. */
export const summaryOf = ({ samples, elapsedMs, ...counts }: Counts): string =>
  `${JSON.stringify({ ...counts, perS: Math.round(counts.sent / (elapsedMs / 1000)) })}${samples.length > 0 ? `\n${samples.join('\n')}` : ''}`
