/** Whoever reads the output may stop reading (`| head`): the run goes on, and its exit code is about the run. */

import { afterAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { closePlaces, environmentOf, ONE_SERVER, openPlace, ROOT } from './run.ts'

afterAll(closePlaces)

test('a run whose output is cut off ends as it would have ended', async () => {
  const { cwd, sandbox } = await openPlace(ONE_SERVER)
  const command = `${process.execPath} ${join(ROOT, 'scripts/provision.ts')} --yes`
  const child = Bun.spawn(['sh', '-c', `{ ${command}; echo $? > code; } | head -n 1`], {
    cwd,
    env: { ...environmentOf(cwd), ...sandbox.environment },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  expect(stdout).toBe('Plan for estate solo (config.json)\n')
  expect(stderr).toBe('')
  expect(readFileSync(join(cwd, 'code'), 'utf8')).toBe('0\n')
  expect(sandbox.controls.hetzner.dump().servers.map(server => server.name)).toHaveLength(1)
}, 60_000)
