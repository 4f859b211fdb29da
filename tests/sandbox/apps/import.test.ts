/** An import from Vercel may be all that is left of a value: what it writes, what it keeps, and when it writes nothing. Needs no server. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { closePlaces, openPlace, type Place } from '../scripts/run.ts'

const CANARY = 'canary-value-of-the-test'
const IMPORTED = `PUBLIC_URL=https://shop.example.org\nSTRIPE_KEY=${CANARY}\n`
const FILLED = `${IMPORTED}DB_PASSWORD=${CANARY}-typed\n`

let place: Place
let path = ''
const run = (words: string) => place.run(`env import web --json ${words}`)

beforeAll(async () => {
  place = await openPlace({
    hetzner: { location: 'nbg1', server_types: { prod: 'cx33' } },
    dns: { domain: 'example.com' },
    apps: { web: { source: { image: 'ghcr.io/acme/web:1' }, env_file: '.env.web' } },
  })
  path = join(place.cwd, '.env.web')
  const project = {
    framework: 'sveltekit',
    rootDirectory: null,
    repository: 'acme/shop',
    domains: [{ name: 'shop.example.org' }],
  }
  place.sandbox.controls.vercel.addProject({ ...project, name: 'empty', variables: [] })
  place.sandbox.controls.vercel.addProject({
    ...project,
    name: 'shop',
    variables: [
      { key: 'PUBLIC_URL', value: 'https://shop.example.org', type: 'plain', target: ['production', 'preview'] },
      { key: 'STRIPE_KEY', value: CANARY, type: 'encrypted', target: ['production'] },
      { key: 'DB_PASSWORD', value: 'never given', type: 'sensitive', target: ['production'] },
    ],
  })
})
beforeEach(() => rmSync(path, { force: true }))
afterAll(closePlaces)

describe('with --plan', () => {
  test('nothing is written, and what would be is told by name', async () => {
    const planned = await run('--project shop --plan')
    expect([planned.code, existsSync(path)]).toEqual([2, false])
    for (const line of ['+ PUBLIC_URL', '+ STRIPE_KEY', '+ DB_PASSWORD, to be filled in']) expect(planned.output).toContain(line)
    expect(planned.output).not.toContain(CANARY)
  })

  test('a file stays as it is, to the last torn write beside it', async () => {
    writeFileSync(path, 'MINE=only-copy\n')
    const torn = join(place.cwd, '..env.web.7fe9adf7-a9d0-4f0a-b656-bab30318fb2b.tmp')
    writeFileSync(torn, 'MINE')
    const before = readdirSync(place.cwd)
    const planned = await run('--project shop --overwrite --plan')
    expect([planned.code, readFileSync(path, 'utf8'), readdirSync(place.cwd)]).toEqual([2, 'MINE=only-copy\n', before])
    expect(planned.output).toContain('- MINE')
    rmSync(torn)
  })

  test('a file that would not change is as wanted', async () => {
    expect((await run('--project shop')).code).toBe(0)
    expect((await run('--project shop --plan')).code).toBe(0)
  })
})

describe('a target that no variable is of', () => {
  for (const flags of ['', '--overwrite ', '--plan '])
    test(`is refused by the names of those that are${flags === '' ? '' : `, ${flags.trim()} or not`}`, async () => {
      writeFileSync(path, 'MINE=only-copy\n')
      const refused = await run(`--project shop ${flags}--target prod`)
      expect([refused.code, readFileSync(path, 'utf8')]).toEqual([3, 'MINE=only-copy\n'])
      expect(refused.errors()).toEqual([
        expect.objectContaining({
          message: expect.stringContaining('shop has no variable of "prod"'),
          hint: expect.stringContaining('preview, production'),
        }),
      ])
    })

  test('leaves no empty file where none was, nor does a project without variables', async () => {
    expect([(await run('--project shop --target prod')).code, existsSync(path)]).toEqual([3, false])
    expect([(await run('--project empty')).code, existsSync(path)]).toEqual([3, false])
    expect((await run('--project shop')).code).toBe(0)
  })

  test('does not keep a project without variables from being looked at', async () => {
    const ended = await place.run('env import --project empty --json')
    expect([ended.code, ended.output.includes('shop.example.org')]).toEqual([0, true])
  })
})

describe('what somebody filled in', () => {
  const fill = async () => {
    expect((await run('--project shop')).code).toBe(0)
    writeFileSync(path, readFileSync(path, 'utf8').replace('#FILL-IN DB_PASSWORD=', `DB_PASSWORD=${CANARY}-typed`))
  }

  test('is there after another import, which then has nothing to do', async () => {
    await fill()
    for (const flags of ['', '--overwrite']) {
      const again = await run(`--project shop ${flags}`)
      expect([again.code, readFileSync(path, 'utf8')]).toEqual([0, FILLED])
      expect(again.output).not.toContain(CANARY)
      expect(again.output).not.toContain('filled in by hand')
    }
  })

  test('outlives an overwrite of what Vercel gives', async () => {
    await fill()
    writeFileSync(path, readFileSync(path, 'utf8').replace('https://shop.example.org', 'https://old.example.org'))
    expect([(await run('--project shop')).code, readFileSync(path, 'utf8').includes('old')]).toEqual([3, true])
    expect([(await run('--project shop --overwrite')).code, readFileSync(path, 'utf8')]).toEqual([0, FILLED])
  })
})
