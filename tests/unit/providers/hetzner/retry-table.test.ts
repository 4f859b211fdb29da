/** The retry table, cell by cell, by what it makes the adapter send. */

import { describe, expect, test } from 'bun:test'
import { RETRY_TABLE } from '../../../../lib/providers/hetzner/retry-table.ts'
import { page, type Reply, type Rig, refusal, rig } from './rig.ts'

/**
 * What happens after one failure: `again` sent again; `fails` told at once; `looks` looks whether it was made and never sends again;
 * `looks-again` looks, and sends again when nothing is there; `gone` counts as deleted.
 */
const MATRIX = `
  failure                   status   GET     POST          PUT     DELETE
  json_error                400      fails   fails         fails   fails
  invalid_input             422      fails   fails         fails   fails
  unsupported_error         422      fails   fails         fails   fails
  method_not_allowed        405      fails   fails         fails   fails
  deprecated_api_endpoint   410      fails   fails         fails   fails
  unauthorized              401      fails   fails         fails   fails
  token_readonly            401      fails   fails         fails   fails
  forbidden                 403      fails   fails         fails   fails
  maintenance               403      fails   fails         fails   fails
  resource_limit_exceeded   403      fails   fails         fails   fails
  not_found                 404      fails   fails         fails   gone
  uniqueness_error          409      fails   looks         fails   fails
  conflict                  409      again   again         again   again
  locked                    423      again   again         again   again
  protected                 423      fails   fails         fails   fails
  resource_unavailable      412      fails   fails         fails   fails
  placement_error           422      fails   fails         fails   fails
  service_error             422      fails   fails         fails   fails
  server_not_stopped        422      fails   fails         fails   fails
  primary_ip_assigned       422      fails   fails         fails   fails
  firewall_already_applied  422      fails   fails         fails   fails
  resource_in_use           422      fails   fails         fails   again
  must_be_unassigned        422      fails   fails         fails   again
  rate_limit_exceeded       429      again   again         again   again
  server_error              500      again   looks         fails   fails
  unavailable               503      again   looks         fails   fails
  bad_gateway               502      again   looks-again   again   again
  timeout                   504      again   looks-again   again   again
  http_429                  429      again   again         again   again
  http_500                  500      again   looks         fails   fails
  http_502                  502      again   looks-again   again   again
  http_503                  503      again   looks         fails   fails
  http_504                  504      again   looks-again   again   again
  http_4xx                  418      fails   fails         fails   fails
  http_5xx                  507      again   looks         fails   fails
  some_new_code             409      fails   fails         fails   fails
  some_new_outage           500      again   looks         fails   fails
  unreachable               -        again   again         again   again
  untrusted                 -        fails   fails         fails   fails
  no_answer                 -        again   looks-again   again   again
  unreadable                200      again   looks-again   again   again
`

const [head = [], ...rows] = MATRIX.trim()
  .split('\n')
  .map(line => line.trim().split(/\s+/))
const verbs = head.slice(2)
const cells = rows.flatMap(([name = '', status = '', ...outcomes]) =>
  outcomes.map((outcome, index) => ({ name, status: Number(status), verb: verbs[index] ?? '', outcome })),
)

const SUCCESS: Readonly<Record<string, Reply>> = {
  GET: page('firewalls', []),
  POST: {
    status: 201,
    json: { firewall: { id: 1, name: 'web', rules: [], applied_to: [], labels: { mine: 'yes' } }, actions: [] },
  },
  PUT: { json: { server: { id: 1 } } },
  DELETE: { status: 204, text: '' },
}

const DO: Readonly<Record<string, (on: Rig) => Promise<unknown>>> = {
  GET: on => on.hetzner.listFirewalls(),
  POST: on => on.hetzner.createFirewall({ name: 'web', rules: [], labels: { mine: 'yes' } }),
  PUT: on => on.hetzner.setServerLabels('1', { a: 'b' }),
  DELETE: on => on.hetzner.deleteNetwork('1'),
}

function failing(name: string, status: number): Reply {
  if (name === 'unreachable' || name === 'untrusted' || name === 'no_answer') return { fails: name }
  if (name === 'unreadable') return { text: '{"firewall": {"id":', status }
  if (name.startsWith('http_')) return { text: '<html><h1>Bad day</h1></html>', status }
  return refusal(status, name)
}

async function outcomeOf(verb: string, failure: Reply): Promise<{ outcome: string; sent: string }> {
  let failed = false
  const on = rig(request => {
    if (request.method === verb && !failed) {
      failed = true
      return failure
    }
    return SUCCESS[request.method] ?? { text: '' }
  })
  const work = DO[verb]
  if (work === undefined) throw new Error(`no such verb: ${verb}`)
  const ended = await work(on).then(
    () => 'ok',
    () => 'error',
  )
  const sent = on.sent.map(line => line.split(' ')[0]).join(' ')
  const word =
    Object.entries({
      'ok ': 'nothing sent',
      [`ok ${verb}`]: 'gone',
      [`ok ${verb} ${verb}`]: 'again',
      [`error ${verb}`]: 'fails',
      'error POST GET GET GET': 'looks',
      'ok POST GET GET GET POST': 'looks-again',
    }).find(([seen]) => seen === `${ended} ${sent}`)?.[1] ?? `${ended} after ${sent}`
  return { outcome: word, sent }
}

describe('after a failure', () => {
  for (const { name, status, verb, outcome } of cells) {
    test(`${name}: a ${verb} ${outcome}`, async () => {
      expect((await outcomeOf(verb, failing(name, status))).outcome).toBe(outcome)
    })
  }

  test('every row of the table is in the matrix', () => {
    const tested = new Set(rows.map(([name]) => name))
    expect(Object.keys(RETRY_TABLE).filter(name => !tested.has(name))).toEqual([])
  })

  test('an action that sets a state is sent again after a lost answer, without looking first', async () => {
    let lost = false
    const on = rig(() => {
      if (lost) return { status: 201, json: { actions: [] } }
      lost = true
      return { fails: 'no_answer' }
    })
    await on.hetzner.setFirewallRules('7', [])
    expect(on.sent).toEqual(['POST /firewalls/7/actions/set_rules', 'POST /firewalls/7/actions/set_rules'])
  })
})
