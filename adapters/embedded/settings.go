package embedded

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/guard"
	"chatting/adapters/embedded/logdir"
)

// restoreSettings gives the server's own topics the settings that the server depends on, if they have others, as a client of
// an earlier version may have left them. It returns which topics it changed.
func restoreSettings(
	ctx context.Context, g *guard.Guard, topics []logdir.Topic, own map[string]map[string]string,
) (changed []string, err error) {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, topic := range topics {
		wanted, isOwn := own[topic.Name]
		if !isOwn {
			continue
		}
		resource := kmsg.IncrementalAlterConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic.Name,
		}
		set := func(name string, op kmsg.IncrementalAlterConfigOp, value *string) {
			resource.Configs = append(resource.Configs,
				kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Op: op, Value: value})
		}
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			if value := wanted[name]; topic.Configs[name] != value {
				set(name, kmsg.IncrementalAlterConfigOpSet, &value)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(topic.Configs)) {
			if _, keep := wanted[name]; !keep {
				set(name, kmsg.IncrementalAlterConfigOpDelete, nil)
			}
		}
		if len(resource.Configs) > 0 {
			request.Resources = append(request.Resources, resource)
			changed = append(changed, topic.Name)
		}
	}
	if len(changed) == 0 {
		return nil, nil
	}
	var response kmsg.IncrementalAlterConfigsResponse
	if err := g.Ask(ctx, request, &response); err != nil {
		return nil, err
	}
	for _, resource := range response.Resources {
		if err := kerr.ErrorForCode(resource.ErrorCode); err != nil {
			return nil, fmt.Errorf("the settings of topic %s: %w", resource.ResourceName, err)
		}
	}
	return changed, nil
}
