import { describe, expect, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { audit, correctedServices, MAX_PER_RULE, RULES } from '../../../lib/stack/audit.ts'
import { parseComposeFile } from '../../../lib/stack/compose-file.ts'
import { parseStacks } from '../../../lib/stack/config.ts'
import { parseNginx } from '../../../lib/stack/nginx.ts'
import { applyLineEdits, renderDiff } from '../../../lib/stack/patch.ts'
import { addBelowService, linesOfKey } from '../../../lib/stack/rule.ts'
import { renderUpstreams } from '../../../lib/stack/upstream.ts'
import { auditInput, COMPOSE, CONFIG, NGINX, PLANTED, WORKFLOW } from './planted.ts'

const EXAMPLES = new URL('../../../examples/', import.meta.url).pathname

const textOf = (file: string, input: ReturnType<typeof auditInput>): string =>
  file === 'config.json'
    ? ''
    : file === input.compose.file
      ? input.compose.text
      : file === input.workflow?.file
        ? input.workflow.text
        : (input.nginx[0]?.text ?? '')

describe('planted faults', () => {
  test('the stack that they are planted in has none', () => {
    expect(audit(auditInput())).toEqual([])
    expect(audit(auditInput({ environment: 'dev' }))).toEqual([])
  })

  test('there are many, and every rule has one', () => {
    expect(PLANTED.length).toBeGreaterThanOrEqual(25)
    expect(Object.keys(RULES).filter(rule => !PLANTED.some(planted => planted.rule === rule))).toEqual([])
  })

  for (const { fault, texts, rule, at, says } of PLANTED)
    test(`${fault} is found, with its line`, () => {
      const input = auditInput(texts)
      const findings = audit(input)
      const found = findings.filter(finding => finding.rule === rule && finding.says.includes(says))
      expect(findings.map(finding => `${finding.rule}: ${finding.says}`).join('\n')).toContain(says)
      expect(found.length).toBeGreaterThanOrEqual(1)
      const [first] = found
      const text = first?.file === 'config.json' ? (texts.config ?? CONFIG) : textOf(first?.file ?? '', input)
      expect(text.split('\n')[(first?.line ?? 0) - 1] ?? '').toContain(at)
      for (const finding of findings) {
        expect(finding.says).toMatch(/^[A-Z"a-z].*[.?]$/)
        expect(finding.fix.length).toBeGreaterThan(8)
      }
    })
})

test('a service that does its work and ends needs no restart policy, which would run it for ever', () => {
  const migrate = `  migrate:
    image: registry.example.com/api:\${TAG}
    deploy: { resources: { limits: { memory: 1G } } }
secrets:`
  const awaited = COMPOSE.replace('secrets:\n  signing', `${migrate}\n  signing`)
  const compose = awaited.replace(
    'depends_on: [postgres]',
    'depends_on: { migrate: { condition: service_completed_successfully } }',
  )
  const restarts = (text: string) => audit(auditInput({ compose: text })).filter(({ rule }) => rule === 'no-restart')
  expect(restarts(awaited).map(({ says }) => says)).toEqual([expect.stringContaining('migrate has no restart policy')])
  expect(restarts(compose)).toEqual([])
})

test('the example has nothing to find', () => {
  const [stack] = parseStacks(readFileSync(join(EXAMPLES, 'compose-rolling.json'), 'utf8'), 'examples/compose-rolling.json')
  if (!stack) throw new Error('no stack')
  const folder = join(EXAMPLES, 'compose-rolling')
  const nginx = readdirSync(join(folder, 'nginx')).map(name => {
    const text = readFileSync(join(folder, 'nginx', name), 'utf8')
    return { file: name, text, parsed: parseNginx(text) }
  })
  const compose = parseComposeFile('compose.yml', readFileSync(join(folder, 'compose.yml'), 'utf8'))
  expect(Object.keys(compose.services)).toEqual(['nginx', 'api', 'web', 'python-api', 'postgres', 'redis'])
  expect(
    audit({
      stack,
      environment: 'prod',
      compose,
      variables: new Set(),
      exists: path => readdirSync(folder).includes(path),
      nginx,
    }),
  ).toEqual([])
})

test('a file that a cut-short rollout left with addresses is told as that, and keeps no deploy from mending it', () => {
  const [file] = renderUpstreams([{ path: '/x', text: NGINX }], { web: ['172.20.0.9'] }, 'r1').files
  const findings = audit(auditInput({ nginx: file?.text ?? '' }))
  expect(findings.map(({ rule, level, line }) => [rule, level, line])).toEqual([['upstream-address', 'warning', 1]])
})

describe('the corrected list', () => {
  const corrected = (list: string) =>
    correctedServices(auditInput({ config: CONFIG.replace('["api", "web", "python-api", "nginx"]', list) }))

  test('has known services once, in the order of their dependencies, the proxy last', () => {
    expect(corrected('["api", "web", "python-api", "database-manager", "tenant-provisioner"]')).toEqual([
      'api',
      'web',
      'python-api',
      'nginx',
    ])
    expect(corrected('["nginx", "web", "api", "api", "postgres"]')).toEqual(['api', 'web', 'nginx'])
  })
})

describe('the patch', () => {
  const broken = COMPOSE.replace('  api:\n', "  api:\n    container_name: vpn-api\n    ports:\n      - '5000:5000'\n").replace(
    '    stop_grace_period: 20s\n',
    '',
  )

  test('takes out what has to go, adds what is missing, and leaves nothing of it to find', () => {
    const input = auditInput({ compose: broken, nginx: NGINX.replace('proxy_pass http://web;', 'proxy_pass http://web:3000;') })
    const edits = audit(input).flatMap(finding => finding.edits ?? [])
    const fixed = auditInput({
      compose: applyLineEdits(
        input.compose.text,
        edits.filter(({ file }) => file === input.compose.file),
      ),
      nginx: applyLineEdits(
        input.nginx[0]?.text ?? '',
        edits.filter(({ file }) => file === 'nginx/default.conf'),
      ),
    })
    expect(
      audit(input)
        .map(({ rule }) => rule)
        .sort(),
    ).toEqual(['container-name', 'direct-pass', 'host-port', 'short-grace'])
    expect(audit(fixed)).toEqual([])
  })

  test.each([
    ['with a newline at its end', (text: string) => text],
    ['without one, far from a change', (text: string) => text.trimEnd()],
    ['without one, in the line that changes', (text: string) => `${text}  zeta:\n    image: z:1\n    container_name: z`],
    ['without one, where a line is added behind it', (text: string) => `${text}  zeta:`],
  ])('is a diff that git and patch take, for a file %s', (_, make) => {
    const written = make(broken.slice(0, broken.indexOf('secrets:\n  signing')))
    const compose = parseComposeFile('docker-compose.prod.yml', written)
    const edits = [
      ...audit(auditInput({ compose: written })).flatMap(finding => finding.edits ?? []),
      ...['container_name'].flatMap(key => linesOfKey(compose, 'zeta', key) ?? []),
      ...(written.endsWith('zeta:') ? [addBelowService(compose, 'zeta', ['image: z:1'])] : []).flatMap(edit => edit ?? []),
    ]
    const patch = renderDiff(compose.file, written, edits)
    const folder = mkdtempSync(join(tmpdir(), 'landfall-patch-'))
    try {
      writeFileSync(join(folder, compose.file), written)
      for (const command of [
        ['patch', '-p1', '--dry-run'],
        ['git', 'apply', '-'],
      ]) {
        const { exitCode, stderr } = Bun.spawnSync(command, { cwd: folder, stdin: new TextEncoder().encode(patch) })
        expect({ command, exitCode, said: `${stderr}` }).toEqual({ command, exitCode: 0, said: '' })
      }
      expect(readFileSync(join(folder, compose.file), 'utf8').trimEnd()).toBe(applyLineEdits(written, edits).trimEnd())
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

describe('big files', () => {
  test('1,000 services are held against every rule within seconds, and the report stays readable', () => {
    const services = Array.from(
      { length: 1_000 },
      (_, index) => `  s${index}:\n    image: app:latest\n    container_name: c${index}\n`,
    ).join('')
    const list = JSON.stringify([...Array.from({ length: 1_000 }, (_, index) => `s${index}`), 'nginx'])
    const startedMs = performance.now()
    const findings = audit(
      auditInput({
        compose: COMPOSE.replace('services:\n', `services:\n${services}`),
        config: CONFIG.replace('["api", "web", "python-api", "nginx"]', list),
      }),
    )
    expect(performance.now() - startedMs).toBeLessThan(20_000)
    const names = findings.filter(({ rule }) => rule === 'container-name')
    expect(names.length).toBe(MAX_PER_RULE + 1)
    expect(names.at(-1)?.says).toContain('There are more of this kind.')
  })

  test('10 MB are read in bounded time', () => {
    const text = `${COMPOSE}x-filler:\n${'  - "0123456789012345678901234567890123456789012345678901234567890123456789"\n'.repeat(135_000)}`
    expect(text.length).toBeGreaterThan(10_000_000)
    const startedMs = performance.now()
    expect(audit(auditInput({ compose: text }))).toEqual([])
    expect(performance.now() - startedMs).toBeLessThan(30_000)
  }, 60_000)
})

test('a workflow that does nothing of the kind is left alone', () => {
  expect(
    audit(auditInput({ workflow: `${WORKFLOW}      - run: docker compose -f docker-compose.prod.yml config -q\n` })),
  ).toEqual([])
})
