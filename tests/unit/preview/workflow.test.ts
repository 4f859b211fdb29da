/** The workflow that ships: what it may do, what it never does, and that its command is one. */

import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { parseArgs } from '../../../lib/ui/args.ts'
import preview from '../../../scripts/preview.ts'

const text = readFileSync(new URL('../../../examples/previews/workflow.yml', import.meta.url), 'utf8')
const workflow = Bun.YAML.parse(text) as {
  readonly on: Readonly<Record<string, { readonly types?: readonly string[] }>>
  readonly permissions: unknown
  readonly concurrency: unknown
  readonly jobs: {
    readonly look: {
      readonly permissions: unknown
      readonly steps: readonly {
        readonly uses?: string
        readonly with?: Readonly<Record<string, unknown>>
        readonly run?: string
      }[]
    }
  }
}
const { steps, permissions } = workflow.jobs.look

test('it has the least rights, and keeps no token in the checkout', () => {
  expect(workflow.permissions).toEqual({})
  expect(permissions).toEqual({ contents: 'read', 'pull-requests': 'write' })
  expect(workflow.concurrency).toEqual({ group: 'previews', 'cancel-in-progress': false })
  const checkouts = steps.filter(step => step.uses?.startsWith('actions/checkout@'))
  expect(checkouts.map(step => step.with)).toEqual([
    { ref: expect.stringMatching(/^\$\{\{ github\.event\.repository\.default_branch \}\}$/), 'persist-credentials': false },
  ])
})

test('nothing that a stranger writes gets into a command, and nothing of a pull request is checked out', () => {
  for (const step of steps) expect(step.run ?? '').not.toContain('${{')
  expect(text).not.toMatch(/github\.event\.pull_request\.head|head_ref|github\.event\.(?:issue|pull_request)\.(?:title|body)/)
})

test('it hears of everything that changes what there should be', () =>
  expect(workflow.on.pull_request_target?.types).toEqual([
    'opened',
    'reopened',
    'synchronize',
    'ready_for_review',
    'converted_to_draft',
    'closed',
    'labeled',
    'unlabeled',
  ]))

test('its command is one', () => {
  const [, words = ''] = /bun scripts\/preview\.ts (.*)/.exec(steps.at(-1)?.run ?? '') ?? []
  expect(parseArgs(words.split(' '), preview.manual).action).toBe('event')
})
