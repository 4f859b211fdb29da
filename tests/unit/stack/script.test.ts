/** `scripts/stack.ts audit` as its users start it; it needs no Docker. */

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { COMPOSE, CONFIG, NGINX, WORKFLOW } from './planted.ts'

const ROOT = new URL('../../../', import.meta.url).pathname
let directory: string

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'landfall-stack-script-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const start = (folder: string, words: readonly string[], variables: Record<string, string> = {}) => {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, join(ROOT, 'scripts/stack.ts'), ...words], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', HOME: folder, TAG: '1', DATABASE_PASSWORD: 'x', ...variables },
  })
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  return { code: exitCode, stdout: text(stdout), stderr: text(stderr) }
}

const folderWith = (
  name: string,
  texts: { config?: string; compose?: string; nginx?: string; workflow?: string } = {},
): string => {
  const folder = join(directory, name)
  mkdirSync(join(folder, 'nginx'), { recursive: true })
  mkdirSync(join(folder, '.github/workflows'), { recursive: true })
  writeFileSync(join(folder, 'config.json'), texts.config ?? CONFIG)
  writeFileSync(join(folder, 'docker-compose.prod.yml'), texts.compose ?? COMPOSE)
  writeFileSync(join(folder, 'nginx/default.conf'), texts.nginx ?? NGINX)
  writeFileSync(join(folder, '.github/workflows/deploy.yml'), texts.workflow ?? WORKFLOW)
  return folder
}

const BAD_LIST = CONFIG.replace(
  '["api", "web", "python-api", "nginx"]',
  '["api", "web", "python-api", "database-manager", "tenant-provisioner"]',
)
const BAD_COMPOSE = COMPOSE.replace('  api:\n', '  api:\n    container_name: vpn-api\n')

test('a correct stack is found correct, with exit code 0', () => {
  const { code, stdout } = start(folderWith('good'), ['audit', '--env', 'prod'])
  expect(stdout).toContain('Nothing found in docker-compose.prod.yml (prod), 6 services.')
  expect(code).toBe(0)
})

test('each fault is a sentence with file, line and cure, and the exit code is 1', () => {
  const { code, stdout } = start(folderWith('bad', { config: BAD_LIST, compose: BAD_COMPOSE }), ['audit', '--env', 'prod'])
  expect(stdout).toContain('docker-compose.prod.yml:11: error: api has the fixed container_name "vpn-api"')
  expect(stdout).toContain(
    'config.json:4: error: The service "database-manager" of the deploy list is not in docker-compose.prod.yml; did you mean "postgres"?',
  )
  expect(stdout).toContain('lacks the proxy nginx')
  expect(code).toBe(1)
})

test('as JSON, standard output holds one object per finding and a summary', () => {
  const { stdout } = start(folderWith('json', { compose: BAD_COMPOSE }), ['audit', '--env', 'prod', '--json'])
  const lines = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  expect(lines[0]).toMatchObject({
    type: 'log',
    finding: { rule: 'container-name', level: 'error', file: 'docker-compose.prod.yml', line: 11, fixable: true },
  })
  expect(lines.at(-1)).toMatchObject({ type: 'summary', ok: false, outputs: { errors: '1', warnings: '0' } })
})

test('in a GitHub workflow, each fault marks its line, and its text cannot become a command', () => {
  const compose = COMPOSE.replace('  api:\n', '  api:\n    container_name: "a%0A::error::b"\n')
  const { stderr } = start(folderWith('annotated', { compose }), ['audit', '--env', 'prod'], { GITHUB_ACTIONS: 'true' })
  const [line = ''] = stderr.split('\n').filter(text => text.startsWith('::error '))
  expect(line).toStartWith(
    '::error file=docker-compose.prod.yml,line=11,title=stack%3A container-name::api has the fixed container_name "a%250A::error::b"',
  )
})

test('--fix writes the corrected list, and a patch that leaves nothing to find', () => {
  const workflow = WORKFLOW.replace('"api,web,python-api,nginx"', '"api,web,python-api,database-manager,tenant-provisioner"')
  const folder = folderWith('fixed', { config: BAD_LIST, compose: BAD_COMPOSE, workflow })
  const { stdout } = start(folder, ['audit', '--env', 'prod', '--fix'])
  expect(stdout).toContain('stack-audit.patch')
  expect(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).stacks.shop.services).toEqual([
    'api',
    'web',
    'python-api',
    'nginx',
  ])
  expect(readFileSync(join(folder, '.github/workflows/deploy.yml'), 'utf8')).toContain('SERVICES: "api,web,python-api,nginx"')
  const patched = Bun.spawnSync(['patch', '-p1', '-i', 'stack-audit.patch'], { cwd: folder })
  expect(patched.exitCode).toBe(0)
  expect(start(folder, ['audit', '--env', 'prod']).code).toBe(0)
})

test('--fix changes the list in the workflow, and no other line that holds the same word', () => {
  expect(WORKFLOW.replace('api,web,python-api,nginx', '')).toContain('deploy')
  const folder = folderWith('short', { workflow: WORKFLOW.replace('"api,web,python-api,nginx"', '"deploy"') })
  start(folder, ['audit', '--env', 'prod', '--fix'])
  expect(readFileSync(join(folder, '.github/workflows/deploy.yml'), 'utf8')).toBe(WORKFLOW)
})

test('a Compose file alone is audited without any configuration', () => {
  const folder = folderWith('alone', { compose: BAD_COMPOSE })
  rmSync(join(folder, 'config.json'))
  const { code, stdout } = start(folder, ['audit', '--file', 'docker-compose.prod.yml', '--nginx', 'nginx/'])
  expect(stdout).toContain('docker-compose.prod.yml:11: error: api has the fixed container_name "vpn-api"')
  expect(stdout).toMatch(/services\s+api,web,python-api,nginx/)
  expect(code).toBe(1)
})

test.each([
  [['audit'], 'It is not said which environment is meant; it has dev and prod.', 64],
  [['audit', '--env', 'staging'], 'has no environment "staging"', 64],
  [['deploy', '--env', 'prod', '--yes'], 'PROD_DEPLOY_HOST is not set.', 1],
  [['deploy', '--env', 'prod', 'wbe'], '"wbe" is not in the deploy list; did you mean "web"?', 64],
  [['deploy', '--env', 'prod', 'wbe', 'api', '--plan'], '→ bun scripts/stack.ts deploy web api --env prod --plan', 64],
  [['deploy', '--env', 'prod', '--image', 'redis=redis:8'], '--image takes SERVICE=REFERENCE', 64],
  [['audit', '--file', 'nowhere.yml'], 'There is no nowhere.yml.', 64],
] as const)('%j is refused in words', (words, says, code) => {
  const folder = folderWith('refused')
  const variables = words.some(word => word === 'wbe' || word === '--image')
    ? { PROD_DEPLOY_HOST: '192.0.2.1', PROD_DEPLOY_HOST_KEY: `ssh-ed25519 ${'A'.repeat(68)}` }
    : {}
  const run = start(folder, words, variables)
  expect(`${run.stdout}${run.stderr}`.replace(/\s+/g, ' ')).toContain(says)
  expect(run.code).toBe(code)
})

test('the example is audited by the command that the help names', () => {
  cpSync(join(ROOT, 'examples/compose-rolling'), join(directory, 'examples/compose-rolling'), { recursive: true })
  cpSync(join(ROOT, 'examples/compose-rolling.json'), join(directory, 'examples/compose-rolling.json'))
  expect(start(directory, ['--config', 'examples/compose-rolling.json']).code).toBe(0)
  expect(start(directory, ['--help']).stdout).toContain('--config examples/compose-rolling.json')
})
