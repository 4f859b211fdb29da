import { describe, expect, test } from 'bun:test'
import { type RenderedCompose, renderPreviewCompose, renderVariables } from '../../../lib/preview/compose-file.ts'
import { renderCaddyfile } from '../../../lib/preview/edge.ts'

const PREVIEW = {
  number: 12,
  service: 'web',
  port: 3000,
  memoryMb: 512,
  checkout: '/var/lib/landfall-previews/pr-12/source',
  folder: '',
  variables: ['API_URL'],
  host: 'pr-12.preview.example.com',
}
const render = (text: string, more: Partial<typeof PREVIEW> = {}): RenderedCompose =>
  renderPreviewCompose(text, { ...PREVIEW, ...more })
const web = (lines: string): string => `services:\n  web:\n    image: x\n${lines.replace(/^/gm, '    ')}\n`
const whyOf = (rendered: RenderedCompose): string => (rendered.state === 'refused' ? rendered.why.join('\n') : 'ready')

describe('what reaches beyond its own containers is refused by name', () => {
  test.each([
    [web('privileged: true'), 'asks for "privileged"'],
    [web('network_mode: host'), 'asks for "network_mode"'],
    [web('pid: host'), 'asks for "pid"'],
    [web('ipc: host'), 'asks for "ipc"'],
    [web('cap_add: [SYS_ADMIN]'), 'asks for "cap_add"'],
    [web('devices: ["/dev/sda"]'), 'asks for "devices"'],
    [web('security_opt: ["apparmor:unconfined"]'), 'asks for "security_opt"'],
    [web('userns_mode: host'), 'asks for "userns_mode"'],
    [web('cgroup_parent: /'), 'asks for "cgroup_parent"'],
    [web('sysctls: {net.ipv4.ip_forward: 1}'), 'asks for "sysctls"'],
    [web('extra_hosts: ["a:10.0.0.1"]'), 'asks for "extra_hosts"'],
    [web('env_file: ../../../etc/shadow'), 'asks for "env_file"'],
    [web('extends: {file: /etc/passwd, service: x}'), 'asks for "extends"'],
    [web('volumes_from: ["container:landfall-edge"]'), 'asks for "volumes_from"'],
    [web('secrets: [x]'), 'asks for "secrets"'],
    [web('volumes: ["/:/host"]'), 'mounts "/:/host"'],
    [web('volumes: ["./data:/data"]'), 'mounts "./data:/data"'],
    [web('volumes: [{type: bind, source: /, target: /host}]'), 'which is no volume of this file'],
    [`${web('volumes: ["v:/data"]')}volumes: {v: {driver_opts: {type: none, o: bind, device: /}}}\n`, 'volume "v" has options'],
    [`include: [/etc/x.yml]\n${web('')}`, '"include" is not allowed'],
    [`${web('')}secrets: {x: {file: /etc/shadow}}\n`, '"secrets" is not allowed'],
    [`${web('')}configs: {x: {file: /etc/shadow}}\n`, '"configs" is not allowed'],
    ['services: {web: {build: /etc}}', 'leads out of the repository'],
    ['services: {web: {build: ../..}}', 'leads out of the repository'],
    ['services: {web: {build: "https://example.org/x.git"}}', 'leads out of the repository'],
    ['services: {web: {build: {context: ., dockerfile: ../Dockerfile}}}', 'leads out of the repository'],
    ['services: {web: {build: {context: ., additional_contexts: {x: /}}}}', 'asks for "additional_contexts"'],
    ['services: {web: {build: {context: ., ssh: [default]}}}', 'asks for "ssh"'],
    ['services: {web: {build: {context: ., privileged: true}}}', 'asks for "privileged"'],
    ...['pr-13-web', 'pr-13-web:latest', 'docker.io/library/pr-13-web', 'index.docker.io/pr-13-web'].map(
      image => [`services: {web: {image: "${image}"}}`, 'which is an image of a preview'] as const,
    ),
    [`services: {web: {image: "\${X:-pr}-13-web"}}`, 'its name must stand there without variables'],
    ['services: {web: {image: "p$HOME"}}', 'its name must stand there without variables'],
    ['services: {api: {image: x}}', 'no service "web"'],
    ['services: {web: {image: x}, "a b": {image: x}}', 'is no name for a service'],
    ['services: [web]', 'has no services'],
    ['{', 'is not YAML'],
    ['', 'has no services'],
    [`services: {web: {image: "${'x'.repeat(300_000)}"}}`, 'more than 256 KiB'],
  ])('%s', (text, why) => expect(whyOf(render(text))).toContain(why))
})

describe('what stays inside is carried over', () => {
  const file = (text: string, more: Parameters<typeof render>[1] = {}) => {
    const rendered = render(text, more)
    if (rendered.state !== 'ready') throw new Error(rendered.why.join('\n'))
    return {
      ...rendered,
      parsed: JSON.parse(rendered.file) as {
        services: Record<string, Record<string, unknown>>
        volumes: Record<string, unknown>
      },
    }
  }

  test('a usual file of an app and its database', () => {
    const text = `services:
  web:
    build: {context: ./app, dockerfile: docker/Dockerfile, args: {A: "1"}}
    ports: ["3000:3000"]
    environment: {DATABASE_URL: "postgres://db/app", API_URL: null}
    depends_on: {db: {condition: service_healthy}}
    restart: always
  db:
    image: postgres:16
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: {test: ["CMD", "pg_isready"]}
volumes:
  data:
`
    const { parsed, paths } = file(text)
    expect(paths).toEqual(['app', 'app/docker/Dockerfile'])
    expect(parsed.services.web).toMatchObject({
      build: { context: '/var/lib/landfall-previews/pr-12/source/app', args: { A: '1' } },
      environment: {
        DATABASE_URL: 'postgres://db/app',
        API_URL: expect.stringMatching(/^\$\{API_URL\}$/),
        PREVIEW_URL: 'https://pr-12.preview.example.com',
        PREVIEW_NUMBER: '12',
      },
      depends_on: { db: { condition: 'service_healthy' } },
      mem_limit: '512m',
      security_opt: ['no-new-privileges:true'],
      networks: { default: { aliases: ['pr-12'] } },
    })
    // Published ports of fifteen previews would collide, and lead past the edge.
    expect(JSON.stringify(parsed)).not.toContain('3000:3000')
    expect(parsed.services.db).toMatchObject({
      image: 'postgres:16',
      volumes: [{ type: 'volume', source: 'data', target: '/var/lib/postgresql/data' }],
    })
    expect(parsed.volumes).toEqual({ data: {} })
  })

  test('a build has no name that another preview or the edge could run; what is not built keeps its own', () => {
    const { services } = file(`services:
  web: {build: ., image: "caddy:2.10.2"}
  api: {image: "ghcr.io/acme/api:\${TAG:-1}"}
  db: {image: "registry.example.com:5000/acme/pr-1-db@sha256:${'a'.repeat(64)}"}
  agent: {image: "pr-agent:1"}
`).parsed
    expect(services.web).not.toHaveProperty('image')
    expect(services.web).toHaveProperty('build')
    expect(Object.values(services).map(each => each.image)).toEqual([
      undefined,
      `ghcr.io/acme/api:\${TAG:-1}`,
      `registry.example.com:5000/acme/pr-1-db@sha256:${'a'.repeat(64)}`,
      'pr-agent:1',
    ])
  })

  test('paths start at the Compose file, and may not pass the repository’s root', () => {
    expect(file('services: {web: {build: ..}}', { folder: 'deploy' }).paths).toEqual(['', 'Dockerfile'])
    expect(whyOf(render('services: {web: {build: ../..}}', { folder: 'deploy' }))).toContain('leads out of the repository')
  })

  test('a fork’s file gets no value of a variable that it asks for', () => {
    const { parsed } = file('services: {web: {image: x, environment: [API_URL, "B=2"]}}', { variables: [] })
    expect(parsed.services.web?.environment).toMatchObject({ API_URL: '', B: '2' })
  })
})

test('values stand in double quotes, with what means something there escaped', () => {
  expect(renderVariables({ A: 'a\\b', B: '"$x"', C: 'C:\\', D: "it's\r\n", E: '' })).toBe(
    'A="a\\\\b"\nB="\\"\\$x\\""\nC="C:\\\\"\nD="it\'s\\r\\n"\nE=""\n',
  )
})

test('the edge’s file does not depend on the order in which previews are found', () => {
  const ways = [
    { number: 12, upstream: 'pr-12:3000' },
    { number: 3, upstream: '172.16.0.4:8080' },
  ]
  const text = renderCaddyfile('preview.example.com', ways)
  expect(renderCaddyfile('preview.example.com', [...ways].reverse())).toBe(text)
  expect(text).toContain('@pr-12 host pr-12.preview.example.com')
  expect(text.match(/tls /g)).toHaveLength(1)
})
