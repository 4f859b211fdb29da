/** Rehearsals as people start them, each in a sandbox of its own: what is not simulated, what is in the way, how to go on. */

import { afterAll, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { environmentOf, ONE_SERVER, ROOT } from './run.ts'

const cwd = mkdtempSync(join(tmpdir(), 'landfall-rehearsal-'))
afterAll(() => rmSync(cwd, { recursive: true, force: true }))

const start = (command: string) => {
  const [script, ...words] = command.split(' ')
  return Bun.spawn([process.execPath, join(ROOT, `scripts/${script}.ts`), ...words], {
    cwd,
    env: environmentOf(cwd),
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
}

const run = async (command: string, child = start(command)) => {
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { code, stdout, said: stderr.replace(/\s+/g, ' ') }
}

test('a cluster on pretended machines is refused before the first change, and its plan says so', async () => {
  const config = join(ROOT, 'examples/nomad-previews.json')
  const refused = await run(`cluster apply --yes --sandbox=fresh --config ${config}`)
  expect([refused.code, refused.stdout]).toEqual([3, ''])
  expect(refused.said).toContain('a cluster cannot be rehearsed on pretended machines.')
  expect(refused.said).toContain(`bun scripts/provision.ts --config ${config} --sandbox apply;`)
  const planned = await run(`cluster plan --sandbox --config ${config}`)
  expect(planned.code).toBe(2)
  expect(planned.said).toContain('a cluster cannot be rehearsed on pretended machines.')
  expect(planned.stdout).toContain('= ')
}, 60_000)

test('a rehearsal that is stopped names the command that goes on, which begins nothing anew', async () => {
  writeFileSync(join(cwd, 'config.json'), JSON.stringify(ONE_SERVER))
  const child = start('setup --yes --sandbox=fresh')
  const reader = child.stdout.getReader()
  for (let said = ''; !said.includes('> create server'); ) {
    const { value, done } = await reader.read()
    if (done) throw new Error(`no server was created: ${said}`)
    said += new TextDecoder().decode(value)
  }
  child.kill('SIGINT')
  const [stderr, code] = await Promise.all([child.stderr.text(), child.exited])
  expect(stderr.replace(/\s+/g, ' ')).toContain('What was done stays; to go on from here: bun scripts/setup.ts --sandbox ')
  expect(code).toBe(130)
  const on = await run('setup --yes --sandbox')
  expect(on.code).toBe(0)
  expect(on.stdout).toMatch(/prod-dokploy: http:\/\/[\d.]+:3000\n {2}Dokploy, log in as admin@example.com/)
}, 90_000)

test('another estate in the same sandbox is told how to begin with an empty one', async () => {
  writeFileSync(join(cwd, 'other.json'), JSON.stringify({ ...ONE_SERVER, project: 'other' }))
  const other = await run('setup --yes --sandbox --config other.json')
  expect(other.code).toBe(3)
  expect(other.said).toContain('To rehearse in an empty one: bun scripts/setup.ts --config other.json --sandbox=fresh')
}, 60_000)
