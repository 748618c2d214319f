package compose

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"go.yaml.in/yaml/v3"

	"chatting/configs"
)

// manifest is what the tests below look at in the files for Kubernetes. Whether the files are as Kubernetes has it is tested in
// test/apitools.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Selector       yaml.Node // of a Service a map, of the others a list of rules
		MaxUnavailable int       `yaml:"maxUnavailable"`
		Replicas       int
		Ports          []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     pod
		}
	}
}

type pod struct {
	EnableServiceLinks            *bool `yaml:"enableServiceLinks"`
	TerminationGracePeriodSeconds int   `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsUser int `yaml:"runAsUser"`
	} `yaml:"securityContext"`
	Containers []struct {
		Image string
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		Env            []struct{ Name, Value string }
		StartupProbe   probe `yaml:"startupProbe"`
		LivenessProbe  probe `yaml:"livenessProbe"`
		ReadinessProbe probe `yaml:"readinessProbe"`
		Lifecycle      struct {
			PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
		}
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
		Secret    struct {
			SecretName string `yaml:"secretName"`
		}
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifests returns what configs/kubernetes has, by kind.
func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "configs", "kubernetes", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]manifest{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for documents := yaml.NewDecoder(bytes.NewReader(content)); ; {
			var m manifest
			if err := documents.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			found[m.Kind] = m
		}
	}
	if kinds := slices.Sorted(maps.Keys(found)); !slices.Equal(kinds, []string{"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"}) {
		t.Fatalf("the manifests are %v", kinds)
	}
	return found
}

// podConfig loads what a pod is told: by its image, its variables, the ConfigMap, and the Secret that docs/operations.md makes.
func podConfig(t *testing.T, all map[string]manifest) configs.Config {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range all["ConfigMap"].Data {
		write(name, content)
	}
	manual, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(manual, []byte("kubectl create secret generic chatting ")) {
		t.Error("docs/operations.md does not make the Secret")
	}
	keys := regexp.MustCompile(`--from-(?:file|literal)=([a-z0-9-]+)=`).FindAllSubmatch(manual, -1)
	for _, key := range keys {
		write(string(key[1]), map[string]string{
			"database-url": "postgres://chatting:password@db:5432/chatting", "jwt-secret": strings.Repeat("s", 32), "s2s-token": strings.Repeat("t", 32),
		}[string(key[1])])
	}
	environ := imageEnviron(t)
	mounted := all["Deployment"].Spec.Template.Spec.Containers[0].VolumeMounts
	for _, variable := range all["Deployment"].Spec.Template.Spec.Containers[0].Env {
		value := variable.Value
		for _, mount := range mounted {
			if below, is := strings.CutPrefix(value, mount.MountPath+"/"); is {
				value = filepath.Join(dir, below)
			}
		}
		environ = append(environ, variable.Name+"="+value)
	}
	cfg, err := configs.Load(configs.Sources{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAPodIsANodeOfAClusterThatKeepsNothing(t *testing.T) {
	all := manifests(t)
	cfg := podConfig(t, all)
	if cfg.Kafka.Embedded() || cfg.Database.Embedded || cfg.GeneratesSecret() || !cfg.S2S.Token.IsSet() {
		t.Errorf("it runs on parts of its own:\n%s", cfg.Masked())
	}
	p := all["Deployment"].Spec.Template.Spec
	for _, volume := range p.Volumes {
		if name := volume.ConfigMap.Name + volume.Secret.SecretName; name != "chatting" {
			t.Errorf("the volume %s is of %q", volume.Name, name)
		}
	}
	if all["ConfigMap"].Metadata.Name != "chatting" || p.EnableServiceLinks == nil || *p.EnableServiceLinks {
		t.Error("variables that the server does not know end its start")
	}
	_, image := stages(t)
	if user := commands[*instructions.UserCommand](image)[0].User; !strings.HasPrefix(user, strconv.Itoa(p.SecurityContext.RunAsUser)+":") {
		t.Errorf("it runs as %d, and the image as %s", p.SecurityContext.RunAsUser, user)
	}
}

func TestAPodHasTheTimeToLeave(t *testing.T) {
	all := manifests(t)
	cfg, p := podConfig(t, all), all["Deployment"].Spec.Template.Spec
	preStop := p.Containers[0].Lifecycle.PreStop.Sleep.Seconds
	needs := time.Duration(preStop)*time.Second + cfg.Shutdown.Deadline
	if has := time.Duration(p.TerminationGracePeriodSeconds) * time.Second; preStop == 0 || has <= needs {
		t.Errorf("it is killed after %s, and leaving may take %s", has, needs)
	}
	// docs/operations.md, Leaving: sockets have four fifths of nine tenths.
	if has, needs := cfg.Shutdown.Deadline*9/10*4/5, cfg.Shutdown.CloseOver+cfg.Kafka.AppendDeadline; has <= needs {
		t.Errorf("sockets have %s to close, and may need %s", has, needs)
	}
}

func TestProbesAndTheServiceFindTheServer(t *testing.T) {
	all := manifests(t)
	cfg, deployment := podConfig(t, all), all["Deployment"].Spec
	container := deployment.Template.Spec.Containers[0]
	if len(container.Ports) != 1 || container.Ports[0].ContainerPort != cfg.HTTP.Addr.Port() || cfg.HTTP.Addr.Host() != "" {
		t.Errorf("it listens on %s, and its ports are %v", cfg.HTTP.Addr, container.Ports)
	}
	for name, asks := range map[string]probe{"/healthz": container.LivenessProbe, "/readyz": container.ReadinessProbe} {
		if asks.HTTPGet.Path != name || asks.HTTPGet.Port != container.Ports[0].Name {
			t.Errorf("%s is asked as %+v", name, asks)
		}
	}
	if container.StartupProbe != container.LivenessProbe {
		t.Error("a node that waits for its broker is killed at its start")
	}
	if ports := all["Service"].Spec.Ports; len(ports) != 1 || ports[0].TargetPort != container.Ports[0].Name {
		t.Errorf("the service sends to %v", ports)
	}
	for kind, selected := range map[string]func(yaml.Node) (labels map[string]string, err error){
		"Service": func(n yaml.Node) (labels map[string]string, err error) {
			err = n.Decode(&labels)
			return labels, err
		},
		"Deployment": matchLabels, "PodDisruptionBudget": matchLabels,
	} {
		labels, err := selected(all[kind].Spec.Selector)
		if err != nil || len(labels) == 0 || !maps.Equal(labels, deployment.Template.Metadata.Labels) {
			t.Errorf("%s selects %v, %v", kind, labels, err)
		}
	}
	if budget := all["PodDisruptionBudget"].Spec.MaxUnavailable; budget < 1 || budget >= deployment.Replicas {
		t.Errorf("of %d nodes %d may be away", deployment.Replicas, budget)
	}
}

func matchLabels(selector yaml.Node) (map[string]string, error) {
	var s struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	err := selector.Decode(&s)
	return s.MatchLabels, err
}
