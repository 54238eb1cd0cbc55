// CDK's own comparison of templates, as `cdk diff` uses it.
// Standard input: [{stack, base, head}], two templates each, {} where there is none. Standard output: what differs.
import { fullDiff } from "@aws-cdk/cloudformation-diff";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const found = JSON.parse(Buffer.concat(chunks)).map(({ stack, base, head }) => {
  const diff = fullDiff(base, head);
  const resources = [];
  diff.resources.forEachDifference((logicalId, change) => {
    const properties = [];
    change.forEachDifference((kind, name, value) => {
      if (kind === "Property")
        properties.push({ name, old: value.oldValue ?? null, new: value.newValue ?? null, impact: value.changeImpact });
    });
    resources.push({
      logical_id: logicalId,
      kind: change.newResourceType ?? change.oldResourceType,
      impact: change.changeImpact,
      properties,
    });
  });
  const outputs = [];
  diff.outputs.forEachDifference((name, change) =>
    outputs.push({ name, old: change.oldValue?.Value ?? null, new: change.newValue?.Value ?? null }),
  );
  const iam = diff.iamChanges._toJson();
  const groups = diff.securityGroupChanges.toJson();
  return {
    stack,
    resources,
    outputs,
    statements_added: iam.statementAdditions ?? [],
    statements_removed: iam.statementRemovals ?? [],
    managed_added: iam.managedPolicyAdditions ?? [],
    managed_removed: iam.managedPolicyRemovals ?? [],
    rules_added: [...(groups.ingressRuleAdditions ?? []), ...(groups.egressRuleAdditions ?? [])],
    rules_removed: [...(groups.ingressRuleRemovals ?? []), ...(groups.egressRuleRemovals ?? [])],
  };
});
process.stdout.write(JSON.stringify(found));
