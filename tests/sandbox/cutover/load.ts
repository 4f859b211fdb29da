/** Starts visitors and reads what they met. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Certificate } from '../../../lib/sandbox/ca.ts'
import { firstHost } from '../../../lib/sandbox/machines/state.ts'
import type { Sandbox } from '../../../lib/sandbox/sandbox.ts'
import { startPebble } from '../../contract/pebble.ts'
import { closePlaces } from '../scripts/run.ts'
import type { Counts, Orders } from './load-client.ts'
import { APEX, API, type MovingPlace, NAMES, OLD, openMovingPlace } from './place.ts'

export interface Load {
  /** What was met so far. */
  counts(): Counts
  /** Resolves when this many more were sent. */
  more(requests: number): Promise<void>
  stop(): Promise<Counts>
}

const NOTHING: Counts = { sent: 0, ok: 0, atOld: 0, atNew: 0, failed: 0, tlsErrors: 0, nxdomain: 0, lookups: 0, samples: [] }

export const startLoad = (sandbox: Sandbox, options: Pick<Orders, 'caPem' | 'ratePerS' | 'clients'>): Load => {
  const orders: Orders = {
    ...options,
    internet: { host: '127.0.0.1', port: sandbox.ports.internet },
    authorityPort: sandbox.ports.authority,
    resolverPort: sandbox.ports.resolver,
    names: NAMES,
    path: '/api/health',
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

export interface Site {
  readonly http: number
  /** Answers with the port at which this certificate is shown from now on. */
  show(certificate: Certificate): Promise<number>
  stop(): Promise<void>
}

/** A web server in a process of its own. */
export const startSite = async (header: readonly [string, string]): Promise<Site> => {
  const child = Bun.spawn([process.execPath, new URL('site.ts', import.meta.url).pathname, ...header], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const waiting: ((line: Readonly<Record<string, number>>) => void)[] = []
  const next = () => new Promise<Readonly<Record<string, number>>>(resolve => waiting.push(resolve))
  const first = next()
  void (async () => {
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true })
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) waiting.shift()?.(JSON.parse(line))
    }
  })()
  const { http = 0 } = await first
  return {
    http,
    async show(certificate) {
      const answer = next()
      child.stdin.write(`${JSON.stringify(certificate)}\n`)
      await child.stdin.flush()
      return (await answer).https ?? 0
    },
    async stop() {
      child.stdin.end()
      await child.exited
    },
  }
}

export interface LoadPlace {
  readonly place: MovingPlace
  /** For scripts: the real authority, and what is trusted. */
  readonly env: Readonly<Record<string, string>>
  readonly caPem: string
  /** The port that the old host shows TLS at. */
  readonly oldPort: number
  /** Where the old host's addresses lead; undefined: nobody is there. */
  pointOld(port: number | undefined): void
  close(): Promise<void>
}

const OLD_ADDRESSES = [OLD.ipv4, OLD.ipv6, '192.0.2.81']

/** A moving estate whose old and new web servers are processes of their own, with certificates from a real authority. */
export const openLoadPlace = async (): Promise<LoadPlace> => {
  const place = await openMovingPlace()
  const { sandbox } = place
  const { hetzner, machines, sites, cloudflare } = sandbox.controls
  // The authority calls itself so, and the preflight holds it against the zone's CAA records.
  const caa = { flags: 0, tag: 'issue', value: 'pebble.letsencrypt.org' }
  cloudflare.addRecord(APEX, { type: 'CAA', name: APEX, data: caa, ttl: 300 })
  const pebble = await startPebble(sandbox.ports.resolver)
  const [oldSite, newSite] = await Promise.all([startSite(['x-old-id', 'fra1']), startSite(['x-new', 'yes'])])
  const oldPort = await oldSite.show(place.old.certificate)
  const pointOld = (port: number | undefined) => {
    for (const address of OLD_ADDRESSES) sites.set(address, 443, port)
  }
  pointOld(oldPort)

  const servers = hetzner.serversForMachines().map(({ name, ipv4, ipv6 }) => ({
    name,
    addresses: [ipv4, firstHost(ipv6)].filter(address => address !== undefined),
  }))
  for (const { addresses } of servers) for (const address of addresses) sites.set(address, 80, newSite.http)
  // Shows what Dokploy was given, as Traefik does the moment its files change.
  const shown = new Map<string, string>()
  const agent = setInterval(async () => {
    for (const { name, addresses } of servers) {
      const given = machines.dokploy(name).givenCertificate(name.startsWith('backend') ? API : APEX)
      if (!given || shown.get(name) === given.cert) continue
      shown.set(name, given.cert)
      const port = await newSite.show(given)
      for (const address of addresses) sites.set(address, 443, port)
    }
  }, 20)

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
    oldPort,
    pointOld,
    async close() {
      clearInterval(agent)
      await Promise.all([oldSite.stop(), newSite.stop(), pebble.stop()])
      place.old.close()
      await closePlaces()
    },
  }
}

/** As long as answers of the new place live, in small steps, while visitors come. */
export const outliveAnswers = async ({ sandbox }: MovingPlace): Promise<void> => {
  for (let i = 0; i < 60; i++) {
    sandbox.controls.dns.advanceMs(5_500)
    await Bun.sleep(20)
  }
}

export const summaryOf = ({ samples, ...counts }: Counts): string =>
  `${JSON.stringify(counts)}${samples.length > 0 ? `\n${samples.join('\n')}` : ''}`
