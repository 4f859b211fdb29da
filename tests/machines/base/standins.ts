/**
 * The program inside the stand-in images for Dokploy and Traefik: `standins dokploy`, `standins traefik`, `standins health`. The panel is
 * the sandbox's own, with its state on disk, a real database that it needs to be healthy, and Traefik's files where the real one writes
 * them; the proxy is the sandbox's own too, reading those files.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, connect as dial } from 'node:net'
import { argv, env, exit } from 'node:process'
import { SQL } from 'bun'
import type { Certificate } from '../../../lib/sandbox/ca.ts'
import { createDokployStandIn } from '../../../lib/sandbox/dokploy/standin.ts'
import { acmeEmailOf } from '../../../lib/sandbox/dokploy/traefik-files.ts'
import { listenTcp, relay } from '../../../lib/sandbox/machines/listen.ts'
import { openWeb, openWebSecure, parseRoutes, type TraefikDeps } from '../../../lib/sandbox/machines/traefik.ts'
import { openStore } from '../../../lib/sandbox/store.ts'

const TRAEFIK_FOLDER = '/etc/dokploy/traefik'
const DYNAMIC_FOLDER = `${TRAEFIK_FOLDER}/dynamic`
const MAIN_FILE = '/etc/traefik/traefik.yml'
const DOCKER_SOCKET = '/var/run/docker.sock'
const AUTHORITY = 'http://192.0.2.14/sandbox/certificate'
const HEALTH = 'http://127.0.0.1:3000/api/trpc/settings.health'

const write = (file: string, text: string): void => {
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  writeFileSync(`${file}.new`, text)
  // A file that is mounted by itself can't be replaced, only filled.
  if (file.startsWith(DYNAMIC_FOLDER)) renameSync(`${file}.new`, file)
  else {
    writeFileSync(file, text)
    rmSync(`${file}.new`)
  }
}

const dokploy = async (): Promise<void> => {
  const version = env.RELEASE_TAG ?? 'v0.30.2'
  const password = readFileSync(env.POSTGRES_PASSWORD_FILE ?? '/run/secrets/postgres_password', 'utf8').trim()
  const database = new SQL({
    adapter: 'postgres',
    hostname: env.POSTGRES_HOST ?? 'dokploy-postgres',
    port: 5432,
    username: 'dokploy',
    password,
    database: 'dokploy',
    max: 1,
    connectionTimeout: 5,
  })
  const isUp = (): Promise<boolean> =>
    database`create table if not exists stand_in (boots int)`.then(
      () => true,
      (error: Error) => {
        process.stderr.write(`database: ${error.message}\n`)
        return false
      },
    )
  // As the real one: nothing is served before the database was migrated.
  while (!(await isUp())) await Bun.sleep(500)

  mkdirSync(DYNAMIC_FOLDER, { recursive: true })
  const store = openStore('/etc/dokploy/stand-in.sqlite')
  const clock = { nowMs: () => Date.now() }
  const panel = createDokployStandIn({ store, clock, serverId: 'here', version, publicIp: () => env.ADVERTISE_ADDR })
  let reloads = panel.control.traefik().reloads
  const publish = async (): Promise<void> => {
    const { main, dynamic, reloads: now } = panel.control.traefik()
    for (const [name, text] of Object.entries(dynamic)) write(`${DYNAMIC_FOLDER}/${name}`, text)
    for (const name of readdirSync(DYNAMIC_FOLDER))
      if (/\.ya?ml$/.test(name) && !Object.hasOwn(dynamic, name)) rmSync(`${DYNAMIC_FOLDER}/${name}`)
    write(`${TRAEFIK_FOLDER}/traefik.yml`, main)
    if (now === reloads) return
    reloads = now
    await fetch('http://docker/containers/dokploy-traefik/restart?t=2', { unix: DOCKER_SOCKET, method: 'POST' })
  }
  await publish()
  Bun.serve({
    hostname: '0.0.0.0',
    port: 3000,
    idleTimeout: 120,
    async fetch(request) {
      const url = new URL(request.url)
      panel.control.setDatabase((await isUp()) ? 'up' : 'down')
      const answer = await panel.handle({
        method: request.method,
        path: url.pathname,
        query: url.searchParams,
        headers: request.headers,
        bodyText: await request.text(),
        atMs: clock.nowMs(),
      })
      store.flush()
      await publish()
      const headers = new Headers(answer.headers)
      const body = answer.json === undefined ? (answer.text ?? null) : JSON.stringify(answer.json)
      if (answer.json !== undefined && !headers.has('content-type')) headers.set('content-type', 'application/json')
      return new Response(body, { status: answer.status, headers })
    },
  })
  process.stdout.write(`stand-in for Dokploy ${version} on port 3000\n`)
}

const traefik = async (): Promise<void> => {
  const main = readFileSync(MAIN_FILE, 'utf8')
  const email = acmeEmailOf(main) ?? ''
  const files = (): Record<string, string> =>
    Object.fromEntries(
      readdirSync(DYNAMIC_FOLDER)
        .filter(name => /\.ya?ml$/.test(name))
        .map(name => [name, readFileSync(`${DYNAMIC_FOLDER}/${name}`, 'utf8')]),
    )
  const upstreams = new Map<string, { readonly port: number }>()
  const issued = new Map<string, Certificate>()
  const deps: TraefikDeps = {
    files,
    async upstream(name) {
      const [host = '', port = '80'] = name.split(':')
      const known = upstreams.get(name) ?? (await listenTcp(socket => void joinTo(socket, host, Number(port))))
      upstreams.set(name, known)
      return known
    },
    async certificateOf(host) {
      const isServed = parseRoutes(files()).some(route => route.entryPoint === 'websecure' && route.host === host)
      const known = issued.get(host)
      if (!isServed || known) return known
      const generation = Bun.hash.crc32(JSON.stringify(files()))
      const query = new URLSearchParams({ host, email, generation: String(generation) })
      const answer = await fetch(`${AUTHORITY}?${query}`, { signal: AbortSignal.timeout(5_000) }).catch((error: Error) => {
        process.stderr.write(`authority: ${error.message}\n`)
      })
      if (answer?.status !== 200) return undefined
      const certificate = (await answer.json()) as Certificate
      issued.set(host, certificate)
      return certificate
    },
  }
  const [web, secure] = [await openWeb(deps), await openWebSecure(deps)]
  for (const [port, inner] of [
    [80, web],
    [443, secure],
  ] as const)
    createServer({ allowHalfOpen: true }, socket => {
      socket.on('error', () => socket.destroy())
      void relay(socket, inner)
    }).listen(port, '0.0.0.0')
  // The real one orders when it sees a new route, not when the first visitor comes.
  setInterval(async () => {
    for (const route of parseRoutes(files())) if (route.entryPoint === 'websecure') await deps.certificateOf(route.host)
  }, 500)
  process.stdout.write('stand-in for Traefik on ports 80 and 443\n')
}

const joinTo = (socket: import('node:net').Socket, host: string, port: number): void => {
  const upstream = dial({ host, port, allowHalfOpen: true })
  upstream.on('error', () => socket.destroy())
  socket.pipe(upstream)
  upstream.pipe(socket)
  socket.once('close', () => upstream.destroy())
  upstream.once('close', () => socket.destroy())
}

const health = async (): Promise<void> => {
  const answer = await fetch(HEALTH, { signal: AbortSignal.timeout(4_000) }).catch(() => undefined)
  exit(answer?.status === 200 ? 0 : 1)
}

const MODES: Readonly<Record<string, () => Promise<void>>> = { dokploy, traefik, health }

if (import.meta.main) {
  process.once('SIGTERM', () => exit(0))
  const mode = MODES[argv[2] ?? '']
  if (!mode) exit(64)
  await mode()
}
