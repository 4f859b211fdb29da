/** Real web servers on loopback, each a process of its own: nginx as what stands at the new place, Caddy as the old host. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import type { Certificate } from '../../../lib/sandbox/ca.ts'
import { freePort } from '../../contract/sshd.ts'

/** Served by both. */
export const PAGE = '/api/health'

export interface WebServer {
  readonly http: number
  readonly https: number
  /** Resolves once new connections are shown this certificate; connections that stand go on with the former one. */
  show(certificate: Certificate): Promise<void>
  /** Takes no connection any more; those that stand get their answer first. */
  stop(): Promise<void>
  /** Again, on the same ports. */
  start(): Promise<void>
  /** For good, with its files. */
  close(): Promise<void>
}

interface Place {
  readonly directory: string
  readonly http: number
  readonly https: number
}

interface Program {
  readonly name: 'nginx' | 'caddy'
  readonly words: (place: Place) => readonly string[]
  readonly config: (place: Place) => string
  /** Ends it once what is under way has its answer. */
  readonly quit: NodeJS.Signals
}

const NGINX: Program = {
  name: 'nginx',
  words: ({ directory }) => ['-p', directory, '-e', join(directory, 'error.log'), '-c', join(directory, 'config')],
  config: ({ directory, http, https }) => `
daemon off; worker_processes 1; pid ${directory}/pid;
events { worker_connections 1024; }
http {
  access_log off; keepalive_timeout 65s; default_type text/plain;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(each => `${each}_temp_path ${directory}/temp;`).join(' ')}
  server {
    listen 127.0.0.1:${http};
    listen 127.0.0.1:${https} ssl;
    ssl_certificate ${directory}/cert.pem;
    ssl_certificate_key ${directory}/key.pem;
    root ${directory}/root;
    add_header x-new yes always;
  }
}
`,
  quit: 'SIGQUIT',
}

const CADDY: Program = {
  name: 'caddy',
  words: ({ directory }) => ['run', '--config', join(directory, 'config'), '--adapter', 'caddyfile'],
  config: ({ directory, http, https }) => `
{
  admin off
  auto_https off
}
(site) {
  bind 127.0.0.1
  header x-old-id fra1
  root * ${directory}/root
  file_server
}
http://:${http} {
  import site
}
https://:${https} {
  import site
  tls ${directory}/cert.pem ${directory}/key.pem
}
`,
  quit: 'SIGTERM',
}

/** @throws when the program is not installed, or does not come up: visitors of an imitation prove nothing */
const startWeb = async (program: Program, certificate: Certificate): Promise<WebServer> => {
  const path = Bun.which(program.name) ?? Bun.which(program.name, { PATH: '/usr/sbin:/usr/local/sbin' })
  if (!path) throw new Error(`${program.name} is not here: apt-get install ${program.name}`)
  const place = {
    directory: mkdtempSync(join(tmpdir(), `landfall-${program.name}-`)),
    http: await freePort(),
    https: await freePort(),
  }
  const write = (name: string, text: string) => writeFileSync(join(place.directory, name), text, { mode: 0o600 })
  const writeCertificate = ({ cert, key }: Certificate) => {
    write('cert.pem', cert)
    write('key.pem', key)
  }
  mkdirSync(join(place.directory, 'root/api'), { recursive: true })
  writeFileSync(join(place.directory, `root${PAGE}`), 'ok\n')
  // Workers that are not root read the pages, the certificate is read before they are.
  Bun.spawnSync(['chmod', '-R', 'a+rX', place.directory])
  writeCertificate(certificate)
  write('config', program.config(place))

  let child: ReturnType<typeof Bun.spawn> | undefined
  const start = async () => {
    child = Bun.spawn([path, ...program.words(place)], {
      env: { PATH: process.env.PATH ?? '', HOME: place.directory },
      stdout: 'ignore',
      stderr: Bun.file(join(place.directory, 'stderr')),
    })
    const endsAtMs = performance.now() + 10_000
    while (!(await accepts(place.http)) || !(await accepts(place.https))) {
      if (performance.now() > endsAtMs || child.exitCode !== null)
        throw new Error(`${program.name} did not start: ${await Bun.file(join(place.directory, 'stderr')).text()}`)
      await Bun.sleep(20)
    }
  }
  const stop = async () => {
    child?.kill(program.quit)
    const timer = setTimeout(() => child?.kill('SIGKILL'), 10_000)
    await child?.exited
    clearTimeout(timer)
  }
  await start()
  return {
    http: place.http,
    https: place.https,
    async show(next) {
      writeCertificate(next)
      child?.kill('SIGHUP')
      const endsAtMs = performance.now() + 10_000
      while ((await shownAt(place.https)) !== pemBody(next.cert)) {
        if (performance.now() > endsAtMs) throw new Error(`${program.name} does not show the certificate that it was given`)
        await Bun.sleep(20)
      }
    },
    stop,
    start,
    async close() {
      await stop()
      rmSync(place.directory, { recursive: true, force: true })
    },
  }
}

/** Reloads its certificate while it serves. */
export const startNginx = (certificate: Certificate): Promise<WebServer> => startWeb(NGINX, certificate)

export const startCaddy = (certificate: Certificate): Promise<WebServer> => startWeb(CADDY, certificate)

const accepts = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

/** The leaf, as the base64 of a PEM. */
const shownAt = (port: number): Promise<string | undefined> =>
  new Promise(resolve => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      const { raw } = socket.getPeerCertificate()
      socket.destroy()
      resolve(raw.toString('base64'))
    })
    socket.once('error', () => resolve(undefined))
  })

const pemBody = (chain: string): string =>
  (/-----BEGIN CERTIFICATE-----([\s\S]*?)-----END/.exec(chain)?.[1] ?? '').replaceAll(/\s/g, '')
