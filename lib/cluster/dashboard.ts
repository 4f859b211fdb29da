/** The dashboard that Grafana shows from its first start: machines, instances, visitors. In Grafana's own form. */

const panel = (
  id: number,
  title: string,
  unit: string,
  at: { readonly x: number; readonly y: number },
  queries: Readonly<Record<string, string>>,
) => ({
  id,
  title,
  type: 'timeseries',
  datasource: { type: 'prometheus', uid: 'prometheus' },
  gridPos: { ...at, w: 12, h: 8 },
  fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
  targets: Object.entries(queries).map(([legendFormat, expr], index) => ({
    refId: String.fromCharCode(65 + index),
    expr,
    legendFormat,
  })),
})

export const DASHBOARD = {
  uid: 'landfall-cluster',
  title: 'Cluster',
  timezone: 'browser',
  schemaVersion: 36,
  refresh: '30s',
  time: { from: 'now-6h', to: 'now' },
  panels: [
    panel(1, 'Parts that answer', 'short', { x: 0, y: 0 }, { '{{job}}': 'sum by (job) (up)' }),
    panel(
      2,
      'Memory in use',
      'percentunit',
      { x: 12, y: 0 },
      {
        '{{node}}': '1 - max by (node) (nomad_client_host_memory_available) / max by (node) (nomad_client_host_memory_total)',
      },
    ),
    panel(
      3,
      'Processor in use',
      'percent',
      { x: 0, y: 8 },
      { '{{node}}': 'avg by (node) (nomad_client_host_cpu_total_percent)' },
    ),
    panel(
      4,
      'Disk in use',
      'percent',
      { x: 12, y: 8 },
      { '{{node}} {{disk}}': 'max by (node, disk) (nomad_client_host_disk_used_percent)' },
    ),
    panel(5, 'Instances', 'short', { x: 0, y: 16 }, { '{{node}}': 'sum by (node) (nomad_client_allocations_running)' }),
    panel(
      6,
      'Visitors a second',
      'reqps',
      { x: 12, y: 16 },
      { '{{node}}': 'sum by (node) (rate(caddy_http_requests_total[1m]))' },
    ),
  ],
} as const
