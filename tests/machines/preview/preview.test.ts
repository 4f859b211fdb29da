/**
 * The programs of previews as machines run them, on a real Docker Engine with real Compose, git and Caddy: commits of a repository become
 * previews behind one edge with one wildcard certificate, visited over HTTPS. What is left out here is SSH and the cloud: the programs are
 * started beside the daemon, as root's shell would.
 */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { createHash, X509Certificate } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ProgramName } from '../../../lib/estate/programs.ts'
import { renderPreviewCompose, renderVariables } from '../../../lib/preview/compose-file.ts'
import { renderCaddyfile, type Way } from '../../../lib/preview/edge.ts'
import { PROGRAM_TEXTS } from '../../../lib/providers/ssh/programs.ts'
import { createAuthority } from '../../../lib/sandbox/ca.ts'
import { EDGE_IMAGE } from '../../../lib/steps/preview-deploy.ts'
import { parsePreviews } from '../../../lib/steps/preview-world.ts'
import { composeVersions, loadBaseImage, must, startDocker, type TestDocker } from '../docker.ts'

setDefaultTimeout(300_000)

const DOMAIN = 'preview.example.com'
const SUBNET = '172.27'
const composes = composeVersions()
const place = mkdtempSync(join(tmpdir(), 'landfall-preview-'))
const repository = join(place, 'repository')
let docker: TestDocker

beforeAll(async () => {
  docker = await startDocker({ name: 'preview', subnet: SUBNET })
  loadBaseImage(docker)
  const context = join(place, 'caddy')
  mkdirSync(context)
  cpSync('/usr/bin/caddy', join(context, 'caddy'))
  writeFileSync(join(context, 'Dockerfile'), 'FROM landfall-example/base:1\nCOPY caddy /usr/bin/caddy\n')
  must(['docker', 'build', '-q', '-t', EDGE_IMAGE, context], { env: { ...docker.environment, DOCKER_BUILDKIT: '0' } })
  must(['git', 'init', '-q', '-b', 'main', repository])
})

afterAll(async () => {
  await docker?.stop()
  rmSync(place, { recursive: true, force: true })
})

const run = (name: ProgramName, values: Readonly<Record<string, string>> = {}, compose = composes[0]) => {
  const input = `${Object.entries(values)
    .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}\n`)
    .join('')}.\n`
  const { exitCode, stdout, stderr } = Bun.spawnSync([...docker.inside, 'sh', '-c', PROGRAM_TEXTS[name].text], {
    env: { ...docker.environment, DOCKER_CONFIG: compose?.configDirectory ?? '', LANDFALL_PREVIEWS: join(place, 'previews') },
    stdin: Buffer.from(input),
    stdout: 'pipe',
    stderr: 'pipe',
  })
  return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() }
}
const fact = (text: string, name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1] ?? ''

const WEB = (says: string, more = '') =>
  `services:\n  web:\n    image: landfall-example/base:1\n    command: ["python3", "-c", "import http.server as h\\nclass A(h.BaseHTTPRequestHandler):\\n  def do_GET(s): s.send_response(200); s.end_headers(); s.wfile.write(b'${says}')\\nh.HTTPServer(('', 3000), A).serve_forever()"]\n${more}`

const commit = (text: string): string => {
  writeFileSync(join(repository, 'compose.yml'), text)
  must(['git', '-C', repository, 'add', '-A'])
  must(['git', '-C', repository, '-c', 'user.name=t', '-c', 'user.email=t@example.com', 'commit', '-q', '-m', 'change'])
  return must(['git', '-C', repository, 'rev-parse', 'HEAD']).trim()
}

const deploy = (
  number: number,
  head: string,
  options: {
    readonly publish?: { address: string; port: number }
    readonly values?: Readonly<Record<string, string>>
    readonly compose?: (typeof composes)[number]
  } = {},
) => {
  const which = { NUMBER: String(number), HEAD: head, GENERATION: '0' }
  const fetched = run('preview-fetch', { ...which, REPOSITORY: `file://${repository}`, COMPOSE_FILE: 'compose.yml' })
  expect(fetched.stderr).toBe('')
  const rendered = renderPreviewCompose(Buffer.from(fact(fetched.stdout, 'file'), 'base64').toString('utf8'), {
    number,
    service: 'web',
    port: 3000,
    memoryMb: 128,
    checkout: fact(fetched.stdout, 'checkout'),
    folder: '',
    variables: Object.keys(options.values ?? {}),
    host: `pr-${number}.${DOMAIN}`,
    ...(options.publish ? { publish: options.publish } : {}),
  })
  if (rendered.state !== 'ready') return run('preview-up', { ...which, WHY: rendered.why.join('\n') })
  const services = String(Object.keys(JSON.parse(rendered.file).services).length)
  const input = {
    ...which,
    COMPOSE: rendered.file,
    BUILD_PATHS: rendered.paths.join('\n'),
    SERVICES: services,
    SERVICE: 'web',
    PORT: '3000',
    VARIABLES: renderVariables(options.values ?? {}),
    LIMIT: '60',
  }
  return run('preview-up', input, options.compose)
}

const look = () => {
  const state = parsePreviews(run('preview-look').stdout)
  if (state.state !== 'ready') throw new Error(`the machine is ${state.state}`)
  return state
}
const standing = () => look().runs.map(each => `${each.number} ${each.state} ${each.head.slice(0, 7)}`)

const lead = (ways: readonly Way[], more: Readonly<Record<string, string>> = {}) => {
  const answer = run('preview-edge', { CADDYFILE: renderCaddyfile(DOMAIN, ways), IMAGE: EDGE_IMAGE, ...more })
  expect(answer.stderr).toBe('')
  expect(answer.code).toBe(0)
}

const visit = (number: number) => {
  const host = `pr-${number}.${DOMAIN}`
  const { stdout } = Bun.spawnSync(
    [
      ...docker.inside,
      'curl',
      '-sS',
      '--max-time',
      '10',
      '--cacert',
      join(place, 'ca.pem'),
      '--resolve',
      `${host}:443:127.0.0.1`,
      '-w',
      ' %{http_code} %{ssl_verify_result}',
      `https://${host}/`,
    ],
    { stdout: 'pipe', stderr: 'pipe' },
  )
  return stdout.toString()
}

const serialOf = (pem: string): string => new X509Certificate(pem).serialNumber
const serialShown = (): string => {
  const host = `pr-12.${DOMAIN}`
  const { stdout } = Bun.spawnSync(
    [
      ...docker.inside,
      'curl',
      '-sS',
      '-k',
      '--resolve',
      `${host}:443:127.0.0.1`,
      '-o',
      '/dev/null',
      '-w',
      '%{certs}',
      `https://${host}/`,
    ],
    { stdout: 'pipe', stderr: 'pipe' },
  )
  return serialOf(stdout.toString().slice(stdout.toString().indexOf('-----BEGIN')))
}

const SHARED: Way[] = [{ number: 12, upstream: 'pr-12:3000' }]

const METADATA = '169.254.169.254/32'
const NETWORK = '172.16.0.0/16'

test('Docker alone is no machine for previews: walls are seen while they stand, and put up where one is missing', () => {
  expect(look().walls).toEqual([])
  const put = (RANGE?: string) => expect(run('preview-host', RANGE ? { RANGE } : {})).toMatchObject({ code: 0, stdout: 'ok=1\n' })
  const rules = () => must([...docker.inside, 'iptables', '-S', 'DOCKER-USER'])
  const wall = ['DOCKER-USER', '-m', 'conntrack', '--ctstate', 'NEW', '-d', NETWORK, '-j', 'DROP']
  put()
  expect(look().walls).toEqual([METADATA])
  // A network that came later.
  put(NETWORK)
  expect(look().walls).toEqual([METADATA, NETWORK])
  const both = rules()
  put(NETWORK)
  expect(rules()).toBe(both)
  must([...docker.inside, 'iptables', '-D', ...wall])
  expect(look().walls).toEqual([METADATA])
  put(NETWORK)
  expect(look().walls).toEqual([METADATA, NETWORK])
  // Where the previews have moved to servers of their own, the edge has to reach them. What others wrote stays.
  must([...docker.inside, 'iptables', '-A', 'DOCKER-USER', '-d', NETWORK, '-p', 'tcp', '--dport', '25', '-j', 'DROP'])
  put()
  expect(look().walls).toEqual([METADATA])
  expect(rules()).not.toContain(`-d ${NETWORK} -m conntrack`)
  expect(rules()).toContain(`-d ${NETWORK} -p tcp`)
  must([...docker.inside, 'iptables', '-D', 'DOCKER-USER', '-d', NETWORK, '-p', 'tcp', '--dport', '25', '-j', 'DROP'])
})

test('commits become previews behind one edge with one certificate, over HTTPS', async () => {
  expect(run('preview-host', { RANGE: '172.16.0.0/16' })).toMatchObject({ code: 0, stdout: 'ok=1\n' })
  expect(must([...docker.inside, 'iptables', '-S', 'DOCKER-USER'])).toContain(
    '-d 169.254.169.254/32 -m conntrack --ctstate NEW -j DROP',
  )
  const ca = await createAuthority()
  writeFileSync(join(place, 'ca.pem'), ca.pem)
  const { cert, key } = await ca.issue([`*.${DOMAIN}`])
  expect(run('preview-edge', { CERTIFICATE: cert, KEY: key }).code).toBe(0)

  const first = commit(WEB('first'))
  expect(deploy(12, first)).toMatchObject({ code: 0, stdout: 'state=up\n' })
  lead(SHARED)
  expect(visit(12)).toBe('first 200 0')
  expect(visit(13)).toBe('There is no such preview. 404 0')
  const state = look()
  expect(state.certificate?.names).toEqual([`*.${DOMAIN}`])
  expect(standing()).toEqual([`12 up ${first.slice(0, 7)}`])

  // A push: the same name, another commit.
  const second = commit(WEB('second'))
  expect(deploy(12, second).stdout).toBe('state=up\n')
  lead(SHARED)
  expect(visit(12)).toBe('second 200 0')

  // A renewed certificate lies on the disk, and whoever put it there was killed before the edge took it up.
  const renewed = await ca.issue([`*.${DOMAIN}`])
  expect(run('preview-edge', { CERTIFICATE: renewed.cert, KEY: renewed.key }).code).toBe(0)
  expect(look().caddyfile).toBe('none')
  expect(serialShown()).toBe(serialOf(cert))
  lead(SHARED)
  expect(serialShown()).toBe(serialOf(renewed.cert))
  expect(look().caddyfile).toBe(createHash('sha256').update(renderCaddyfile(DOMAIN, SHARED)).digest('hex'))

  // One on a port of its own, as on a server of its own, beside it.
  expect(deploy(13, first, { publish: { address: `${SUBNET}.0.1`, port: 8080 } }).stdout).toBe('state=up\n')
  lead([...SHARED, { number: 13, upstream: `${SUBNET}.0.1:8080` }])
  expect(visit(13)).toBe('first 200 0')
  expect(visit(12)).toBe('second 200 0')

  // Previews do not reach each other.
  const reached = docker.docker(
    'exec',
    'pr-13-web-1',
    'python3',
    '-c',
    "import socket; socket.create_connection(('pr-12', 3000), 2)",
  )
  expect(reached.code).not.toBe(0)
})

/** What is written otherwise in an env file, and what Compose makes something else of where it is not. */
const VALUES = {
  API_URL: "https://a.example.com/?q=$HOME&x=it's",
  MIDDLE: 'a\\b',
  LETTERS: '\\n \\t \\065 \\x41 \\u00e9',
  BEFORE_QUOTE: '\\" \\\\" \\\'',
  AT_THE_END: 'C:\\',
  TWO_AT_THE_END: 'C:\\\\',
  DOLLARS: `$HOME \${HOME} \${HOME:-x} $$ $$HOME \\$HOME \\\\\${HOME}`,
  LINES: 'one\ntwo\r\n\tthree\n',
  COMMENT: ' # none ',
  EMPTY: '',
  FOREIGN: 'é ✓ "`!%',
} as const

test.each(composes)('values reach the containers byte for byte, and stay in no file, with Compose $version', used => {
  const head = commit(WEB(`with ${used.version}`, '    environment: [API_URL]\n'))
  expect(deploy(14, head, { values: VALUES, compose: used }).stdout).toBe('state=up\n')
  const program = `import json, os; print(json.dumps({name: os.environ[name] for name in ${JSON.stringify(Object.keys(VALUES))}}))`
  expect(JSON.parse(docker.docker('exec', 'pr-14-web-1', 'python3', '-c', program).stdout)).toEqual(VALUES)
  expect(existsSync(join(place, 'previews/pr-14/variables.env'))).toBe(false)
  expect(run('preview-down', { NUMBER: '14' }).code).toBe(0)
})

test('a build takes no name that others run', () => {
  const other = 'landfall-example/other:1'
  const idOf = (image: string) => docker.docker('image', 'inspect', '--format', '{{.Id}}', image).stdout.trim()
  docker.docker('tag', 'landfall-example/base:1', other)
  writeFileSync(join(repository, 'Dockerfile'), 'FROM landfall-example/base:1\nCOPY compose.yml /compose.yml\n')
  const head = commit(WEB('built', '    build: .\n').replace('landfall-example/base:1', other))
  rmSync(join(repository, 'Dockerfile'))
  expect(deploy(18, head).stdout).toBe('state=up\n')
  expect(idOf(other)).toBe(idOf('landfall-example/base:1'))
  expect(docker.docker('inspect', '--format', '{{.Config.Image}}', 'pr-18-web-1').stdout).toBe('pr-18-web\n')

  // Another's finished image is no base for a service.
  expect(deploy(19, commit(WEB('taken').replace('landfall-example/base:1', 'pr-18-web'))).stdout).toBe('state=failed\n')
  expect(look().runs.find(each => each.number === 19)?.why).toContain('"pr-18-web", which is an image of a preview')

  expect(run('preview-down', { NUMBER: '18' }).code).toBe(0)
  expect(idOf('pr-18-web')).toBe('')
  expect(run('preview-down', { NUMBER: '19' }).code).toBe(0)
})

test('one that does not start says why, and a file that asks for too much is never carried out', () => {
  const broken = commit(
    'services:\n  web:\n    image: landfall-example/base:1\n    command: ["sh", "-c", "echo no database here; exit 3"]\n',
  )
  expect(deploy(15, broken).stdout).toBe('state=failed\n')
  expect(look().runs.find(each => each.number === 15)).toMatchObject({
    state: 'failed',
    why: expect.stringContaining('no database here'),
  })
  const greedy = commit(`${WEB('greedy')}    privileged: true\n`)
  expect(deploy(16, greedy).stdout).toBe('state=failed\n')
  expect(docker.docker('ps', '-aq', '--filter', 'label=com.docker.compose.project=pr-16').stdout).toBe('')
  // A context that is a link to the host’s files.
  symlinkSync('/etc', join(repository, 'context'))
  const linked = commit('services:\n  web:\n    build: context\n')
  rmSync(join(repository, 'context'))
  expect(deploy(17, linked).stdout).toBe('state=failed\n')
  expect(look().runs.find(each => each.number === 17)?.why).toContain('leads out of the repository')
})

test('a container that is gone is seen, and nothing of a preview is left after its end', () => {
  docker.docker('rm', '-f', 'pr-12-web-1')
  expect(look().runs.find(each => each.number === 12)?.state).toBe('down')
  for (const number of [12, 13, 15, 16, 17]) {
    expect(run('preview-down', { NUMBER: String(number) })).toMatchObject({ code: 0 })
    // A second time finds nothing and is content.
    expect(run('preview-down', { NUMBER: String(number) })).toMatchObject({ code: 0 })
  }
  expect(look().runs).toEqual([])
  for (const kind of ['container', 'network', 'volume'])
    expect(
      docker.docker(kind, 'ls', '-q', ...(kind === 'container' ? ['-a'] : []), '--filter', 'label=com.docker.compose.project')
        .stdout,
    ).toBe('')
})

test('names and paths that are none are refused before anything is done', () => {
  for (const NUMBER of ['', '0', '-1', '1;reboot', '../x', '12345678901']) expect(run('preview-down', { NUMBER }).code).toBe(65)
  const which = { NUMBER: '1', HEAD: 'a'.repeat(40), GENERATION: '0' }
  expect(run('preview-fetch', { ...which, REPOSITORY: '--upload-pack=touch /tmp/x', COMPOSE_FILE: 'compose.yml' }).code).toBe(65)
  expect(run('preview-fetch', { ...which, REPOSITORY: `file://${repository}`, COMPOSE_FILE: '../../etc/passwd' }).code).toBe(65)
  expect(
    run('preview-fetch', { ...which, HEAD: 'HEAD', REPOSITORY: `file://${repository}`, COMPOSE_FILE: 'compose.yml' }).code,
  ).toBe(65)
})
